"""Container stacks whose migration was cut off: ended or taken back, by what both hosts show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from novafleet.app.context import Reached, reach
from novafleet.app.recovery import HELD, Order, Recovered, held, journalled
from novafleet.app.runs import MOVING
from novafleet.app.stacktrip import NOTE, STACK, StackTrip, runners
from novafleet.app.wiring import World, open_journal
from novafleet.capability.migration.commit import DAY
from novafleet.capability.migration.gates import WORD
from novafleet.capability.migration.recover import CHANGING, Action, decide_recovery
from novafleet.capability.migration.stack import StackMove
from novafleet.capability.migration.stackjob import StackJob, kept_stacks, look_stack
from novafleet.errors import LockHeldError, MigrationError, NovaFleetError
from novafleet.execute.gather import gather
from novafleet.model.encode import decode
from novafleet.model.migration import Phase
from novafleet.observe.registry import collectors
from novafleet.plan.moving import CLOSED
from novafleet.store.journal import Journal

REMEMBERED = 50
"""Runs looked through for migrations whose destination does not answer."""


async def stack_jobs(world: World, patterns: Sequence[str]) -> tuple[StackJob, ...]:
    """All that did not end, or those meant: as their destinations remember them, or the journal where one does not
    answer."""
    reached, _ = await reach(world, world.fleet.hosts)
    found: dict[str, StackJob] = {}
    answered: set[str] = set()
    for name, host in reached.items():
        try:
            found |= {job.move.job: job for job in await kept_stacks(host)}
        except NovaFleetError:
            continue
        answered.add(name)
    noted = await _noted(world)
    found |= {name: job for name, job in noted.items() if job.move.destination not in answered}
    return tuple(job for _, job in sorted(found.items()) if not patterns or meant(job.move, patterns))


async def _noted(world: World) -> Mapping[str, StackJob]:
    """By the journal."""
    jobs: dict[str, StackJob] = {}
    async with open_journal(world.places) as journal:
        for run in reversed(await journal.runs(limit=REMEMBERED)):
            if run.verb.startswith(MOVING):
                jobs |= await _of_run(journal, run.id)
    return {name: job for name, job in jobs.items() if job.phase not in CLOSED}


async def _of_run(journal: Journal, run: str) -> Mapping[str, StackJob]:
    notes = [each for each in await journal.records(run) if each.kind == NOTE and STACK in each.payload]
    jobs = [StackJob(decode(StackMove, each.payload[STACK]), Phase(each.payload["phase"]), each.at) for each in notes]
    return {job.move.job: job for job in jobs}


def meant(move: StackMove, patterns: Sequence[str]) -> bool:
    """Does a person mean this stack? By its project, HOST/PROJECT or ENV/NAME, with or without ``stack.``."""
    project, name = f"stack.{move.project}", move.name.removeprefix("stack.")
    hosts = (move.source, move.destination)
    labels = [project, move.project, *(f"{host}/{each}" for host in hosts for each in (project, move.project))]
    labels += [f"{move.environment}/{each}" for each in (name, f"stack.{name}") if move.environment]
    return any(fnmatchcase(label, pattern) for label in labels for pattern in patterns)


async def settle_stacks(world: World, pattern: str, lock_wait: float) -> tuple[Recovered, ...]:
    """What earlier migrations of the stack meant left is ended or taken back."""
    jobs = await stack_jobs(world, (pattern,))
    return tuple([await recover_stack(world, job, Order(lock_wait=lock_wait)) for job in jobs])


async def recover_stack(world: World, job: StackJob, order: Order) -> Recovered:
    """Decide, and unless told to explain carry it out."""
    move = job.move
    ends = (move.source, move.destination)
    reached, _ = await reach(world, [name for name in ends if name in world.fleet.hosts])
    row = await _decided(job, reached)
    if row.decision.action not in CHANGING:
        return replace(row, done=row.decision.action is Action.NOTHING)
    try:
        async with held(world, f"stack.{move.project}", move.job, reached, order.lock_wait) as fenced:
            return await _under_lease(world, job, fenced, order)
    except LockHeldError as error:
        return replace(row, decision=replace(HELD, why=str(error)))
    except NovaFleetError as error:
        return replace(row, error=error.finding())


async def _decided(job: StackJob, reached: Mapping[str, Reached]) -> Recovered:
    move = job.move
    facts = await look_stack(job, reached.get(move.source), reached.get(move.destination))
    decision = decide_recovery(facts)
    return Recovered(move.job, f"stack.{move.project}", move.source, move.destination, facts, decision)


async def _under_lease(world: World, job: StackJob, fenced: Mapping[str, Reached], order: Order) -> Recovered:
    """Look again, now that nobody else can change anything, and do what that says."""
    row = await _decided(job, fenced)
    if row.decision.action not in CHANGING or order.explain:
        return replace(row, done=row.decision.action is Action.NOTHING)
    move = replace(job.move, gates=()) if WORD in order.consent else job.move
    hosts = [world.fleet.hosts[name] for name in (move.source, move.destination)]
    facts = (await gather(world.sessions, hosts, collectors(("containers",)), world.clock)).hosts
    here, there = runners(move.name, move.project, move.kind, facts[move.source], facts[move.destination])
    async with journalled(world, move.job, f"{move.source}/stack.{move.project}") as (journal, run_id):
        ends = (fenced[move.source], fenced[move.destination], here, there)
        trip = StackTrip(move, *ends, journal, world.clock, run_id, DAY)
        await _DO[row.decision.action](trip, job.phase)
    return replace(row, done=True)


async def _commit(trip: StackTrip, phase: Phase) -> None:
    """Nobody knows for how long it has been up there: gates that are not met change nothing."""
    if phase is Phase.SWITCHING:
        await trip.prove()
    await trip.commit()


async def _roll_back(trip: StackTrip, _phase: Phase) -> None:
    await trip.back()


async def _start_there(trip: StackTrip, phase: Phase) -> None:
    """As the move itself would have: up there, or all back, unless it had come up there before."""
    try:
        await trip.start_there()
    except MigrationError:
        if phase is not Phase.SWITCHING:
            raise
        await trip.back()
        return
    await trip.commit()


_DO: Mapping[Action, Callable[[StackTrip, Phase], Awaitable[None]]] = {
    Action.ROLL_BACK: _roll_back,
    Action.COMMIT: _commit,
    Action.START_DESTINATION: _start_there,
}
