"""Migrations that have not ended: what the journal says, what the domains say, and what their hosts show now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from novafleet.app.context import Reached
from novafleet.app.runs import MOVING
from novafleet.app.wiring import World, open_journal
from novafleet.capability.migration.keep import kept, move_of
from novafleet.capability.migration.recover import Facts, Seen
from novafleet.errors import NotFoundError, NovaFleetError
from novafleet.model.facts import Domain, FleetFacts
from novafleet.model.migration import Mode, Move, Phase
from novafleet.model.run import Record
from novafleet.plan import moving
from novafleet.plan.moving import Moving

NOTE = "note"
"""Kind of the journal's records of a migration's phases (``app/migratetrip.py``)."""
UNDER_WAY = frozenset(("bounded", "unbounded"))
REMEMBERED = 50
"""Runs looked through for migrations that no domain tells of."""


@dataclass(frozen=True, slots=True)
class Job:
    """One migration. ``moving`` is the newest record of it, wherever that is; ``move`` None: nobody here knows it."""

    domain: str
    uuid: str
    moving: Moving
    move: Move | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.moving.job


async def open_jobs(world: World, facts: FleetFacts) -> tuple[Job, ...]:
    """All that did not end, by name."""
    noted = await _journalled(world)
    jobs = {job.id: job for job in noted.values()}
    told: dict[str, Moving] = {}
    seen: set[str] = set()
    for domain in (each for host in facts.hosts.values() for each in host.domains.values()):
        found = moving.read(domain.xml)
        if found is not None and found.job:
            jobs[found.job] = _newer(jobs.get(found.job), domain, found)
            told[domain.uuid] = max(told.get(domain.uuid, found), found, key=lambda each: each.at)
            seen.add(found.job)
    still = [job for _, job in sorted(jobs.items()) if job.moving.open]
    return tuple(job for job in still if job.id in seen or not _over(job, told.get(job.uuid)))


def _over(job: Job, newest: Moving | None) -> bool:
    """Another controller ended it, or the VM could not have been moved again since (``recover.settled``)."""
    return newest is not None and newest.at > job.moving.at


def _newer(known: Job | None, domain: Domain, found: Moving) -> Job:
    if known is None:
        return Job(domain.name, domain.uuid, found)
    return replace(known, moving=found) if found.at > known.moving.at else known


async def _journalled(world: World) -> Mapping[str, Job]:
    jobs: dict[str, Job] = {}
    async with open_journal(world.places) as journal:
        for run in await journal.runs(limit=REMEMBERED):
            if run.verb.startswith(MOVING):
                for job in jobs_of(await journal.records(run.id)):
                    known = jobs.get(job.id)
                    if known is None or known.moving.at < job.moving.at:
                        jobs[job.id] = replace(job, move=job.move or (known.move if known else None))
                    elif known.move is None:
                        jobs[job.id] = replace(known, move=job.move)
    return jobs


def jobs_of(records: Iterable[Record]) -> Iterator[Job]:
    """Pure: the migrations of one run, each with its last phase."""
    moves: dict[str, Move] = {}
    latest: dict[str, Record] = {}
    for record in records:
        job = str(record.payload.get("job", ""))
        if record.kind == NOTE and job:
            latest[job] = record
            if "move" in record.payload:
                moves[job] = move_of(record.payload["move"])
    for job, record in latest.items():
        move = moves.get(job)
        if move is not None:
            yield Job(move.domain, move.uuid, _moving(move, record), move)


def _moving(move: Move, record: Record) -> Moving:
    phase, mode = Phase(record.payload["phase"]), Mode(record.payload.get("mode", "auto"))
    held = bool(record.payload.get("held"))
    return Moving(move.job, phase, mode, move.source, move.destination, record.run, move.running, record.at, held)


async def with_move(job: Job, destination: Reached) -> Job:
    """The job with what its destination keeps of it, where the journal does not know it."""
    return job if job.move is not None else replace(job, move=await kept(destination, job.id))


async def look(job: Job, reached: Mapping[str, Reached]) -> Facts:
    """What both hosts show now."""
    note, here, there = job.moving, reached.get(job.moving.source), reached.get(job.moving.destination)
    seen = await _seen(job, here, sends=True), await _seen(job, there)
    return Facts(note.phase, note.mode, note.running, *seen, note.held)


async def _seen(job: Job, host: Reached | None, *, sends: bool = False) -> Seen:
    """One host; whatever keeps it from answering, it is out of reach. The source alone tells of the job."""
    if host is None:
        return Seen(reachable=False)
    try:
        domain = await host.hypervisor.domain_state(job.domain)
        going = sends and (await host.hypervisor.migration(job.domain)).kind in UNDER_WAY
    except NotFoundError:
        return Seen()
    except NovaFleetError:
        return Seen(reachable=False)
    return Seen(True, domain.state, domain.reason, going, domain.uuid != job.uuid)
