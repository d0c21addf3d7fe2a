"""``migrate recover``: migrations that were cut off are ended or taken back, by what both hosts show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path as FilePath

from novafleet.app.context import Reached, reach
from novafleet.app.migrategates import prove
from novafleet.app.migratejobs import Job, look, open_jobs, with_move
from novafleet.app.migratetrip import Trip
from novafleet.app.recoverstack import recover_stack, stack_jobs
from novafleet.app.recovery import HELD, PLAIN, Order, Recovered, Recovery, held, journalled
from novafleet.app.vmselect import Chosen, select
from novafleet.app.wiring import World, open_world
from novafleet.capability.migration.commit import DAY, commit
from novafleet.capability.migration.gates import WORD
from novafleet.capability.migration.live import resume_postcopy, start_without_memory
from novafleet.capability.migration.power import go_on
from novafleet.capability.migration.recover import CHANGING, OFF, Action, Decision, Facts, decide_recovery
from novafleet.capability.migration.rollback import rollback
from novafleet.capability.migration.route import close_route, open_route
from novafleet.errors import ConfigError, HypervisorError, LockHeldError, MigrationError, NovaFleetError, Retry
from novafleet.execute.gather import gather
from novafleet.model.migration import Move, Path, Phase
from novafleet.observe.registry import collectors
from novafleet.plan import moving
from novafleet.store.journal import Journal

AMBIGUOUS = "NF-VM-007"
UNKNOWN = Decision(
    "no-record",
    Action.ASK,
    "nobody here knows what was to be moved, and the destination keeps no record of it",
    "novafleet migrate recover   # on the controller that began it",
)


async def recover(inventory: tuple[FilePath, ...], patterns: Sequence[str] = (), order: Order = PLAIN) -> Recovery:
    """Ask every host; decide, and unless told to explain carry it out: of all VMs and stacks, or those meant. What one
    runs into does not keep the others."""
    async with open_world(inventory) as world:
        facts = await gather(world.sessions, list(world.fleet.hosts.values()), collectors(("libvirt",)), world.clock)
        jobs = [job for job in await open_jobs(world, facts) if not patterns or _meant(job, patterns)]
        unseen = {name: host.error for name, host in facts.hosts.items() if host.error}
        done = [await _recover(world, job, order) for job in jobs]
        done += [await recover_stack(world, job, order) for job in await stack_jobs(world, patterns)]
        return Recovery(tuple(done), unseen, order.explain)


async def settled(world: World, patterns: Sequence[str], lock_wait: float = 0.0) -> tuple[Chosen, ...]:
    """The VMs meant, once what earlier migrations of them left is ended or taken back. Touches no other VM.

    Raises what selecting raises: of a VM that is still on two hosts, NF-VM-007.
    """
    try:
        chosen = await select(world, patterns)
    except ConfigError as error:
        if error.code != AMBIGUOUS:
            raise
        chosen = ()
    notes = [moving.read(each.domain.xml) for each in chosen]
    if chosen and not any(note is not None and note.open for note in notes):
        return chosen
    facts = await gather(world.sessions, list(world.fleet.hosts.values()), collectors(("libvirt",)), world.clock)
    for job in await open_jobs(world, facts):
        if _meant(job, patterns):
            await _recover(world, job, Order(lock_wait=lock_wait))
    return await select(world, patterns)


async def settle_host(world: World, host: str) -> tuple[Recovered, ...]:
    """The same for every migration from or to a host, before it is drained."""
    facts = await gather(world.sessions, list(world.fleet.hosts.values()), collectors(("libvirt",)), world.clock)
    jobs = [job for job in await open_jobs(world, facts) if host in (job.moving.source, job.moving.destination)]
    return tuple([await _recover(world, job, Order()) for job in jobs])


def _meant(job: Job, patterns: Sequence[str]) -> bool:
    labels = [job.domain, f"{job.moving.source}/{job.domain}", f"{job.moving.destination}/{job.domain}"]
    if job.move is not None:
        labels.append(f"{job.move.environment}/{job.move.vm}")
    return any(fnmatchcase(label, pattern) for label in labels for pattern in patterns)


async def _recover(world: World, job: Job, order: Order) -> Recovered:
    ends = (job.moving.source, job.moving.destination)
    reached, _ = await reach(world, [name for name in ends if name in world.fleet.hosts])
    facts = await look(job, reached)
    row = Recovered(job.id, job.domain, *ends, facts, decide_recovery(facts))
    if row.decision.action not in CHANGING:
        return replace(row, done=row.decision.action is Action.NOTHING)
    try:
        async with held(world, f"vm.{job.domain}", job.id, reached, order.lock_wait) as fenced:
            return await _under_lease(world, await with_move(job, fenced[ends[1]]), fenced, row, order)
    except LockHeldError as error:
        return replace(row, decision=replace(HELD, why=str(error)))
    except NovaFleetError as error:
        return replace(row, error=error.finding())


async def _under_lease(
    world: World, job: Job, fenced: Mapping[str, Reached], row: Recovered, order: Order
) -> Recovered:
    """Look again, now that nobody else can change anything, and do what that says."""
    facts = await look(job, fenced)
    row = replace(row, facts=facts, decision=decide_recovery(facts))
    if row.decision.action not in CHANGING:
        return replace(row, done=row.decision.action is Action.NOTHING)
    if job.move is None:
        return replace(row, decision=UNKNOWN)
    if order.explain:
        return row
    if WORD in order.consent:
        job = replace(job, move=replace(job.move, gates=()))
    async with journalled(world, job.id, f"{job.moving.source}/{job.domain}") as journal:
        await _DO[row.decision.action](_trip(world, job, fenced, journal), facts)
    return replace(row, done=True)


def _trip(world: World, job: Job, fenced: Mapping[str, Reached], journal: tuple[Journal, str]) -> Trip:
    assert job.move is not None
    ends = (fenced[job.moving.source], fenced[job.moving.destination])
    trip = Trip(job.move, *ends, journal[0], world.clock, journal[1], DAY)
    trip.mode = job.moving.mode
    return trip


async def _roll_back(trip: Trip, facts: Facts) -> None:
    """What waits on the destination is ended first; only then the source goes on, and all else is taken back."""
    ends, move = trip.ends(verb="recover"), trip.move
    await close_route(ends.source, ends.destination, move.job)
    if facts.destination.half_way or facts.waits:
        await ends.destination.hypervisor.destroy_domain(move.domain)
    if facts.source.half_way and move.running:
        await go_on(ends.source, move)
    await rollback(ends, move)


async def _commit(trip: Trip, facts: Facts) -> None:
    """What is paused on the source since the switch-over goes; the gates are asked, if nobody did; then the source's
    definition goes, its disks into quarantine."""
    ends, move = trip.ends(verb="recover"), trip.move
    await close_route(ends.source, ends.destination, move.job)
    if facts.source.present and facts.source.state not in OFF:
        await ends.source.hypervisor.destroy_domain(move.domain)
    if facts.destination.runs and facts.phase is not Phase.VERIFIED:
        await prove(trip.context("recover"), trip.destination, move, trip.mode)
    await ends.note(Phase.VERIFIED, {})
    await commit(ends, move, trip.mode)


async def _start_there(trip: Trip, facts: Facts) -> None:
    """Nothing may be left of the source's QEMU before the destination's starts."""
    ends, move = trip.ends(verb="recover"), trip.move
    if facts.source.present and facts.source.state not in OFF:
        await ends.source.hypervisor.destroy_domain(move.domain)
    await ends.note(Phase.SWITCHED, {})
    hypervisor = ends.destination.hypervisor
    await (hypervisor.resume_domain if facts.waits else hypervisor.start_domain)(move.domain)
    there = replace(facts.destination, state="running")
    await _commit(trip, replace(facts, source=replace(facts.source, state="shutoff"), destination=there))


async def _resume(trip: Trip, facts: Facts) -> None:
    """By way of us, which needs no more than that both hosts answer; the destination runs it all the while."""
    ends, move = trip.ends(verb="recover"), trip.move
    await close_route(ends.source, ends.destination, move.job)
    async with open_route(Path.RELAY, ends.source, ends.destination, move.job) as route:
        try:
            await resume_postcopy(ends.source.hypervisor, move, route)
        except HypervisorError as error:
            raise _not_resumed(move, error) from error
    await ends.note(Phase.SWITCHED, {})
    await _commit(trip, replace(facts, source=replace(facts.source, state="shutoff")))


def _not_resumed(move: Move, error: HypervisorError) -> MigrationError:
    return MigrationError(
        f"the rest of the memory of {move.domain} could not be brought; both halves are as they were",
        code="NF-MIG-205",
        where=f"{move.source} -> {move.destination}",
        cause=str(error),
        hints=(
            "novafleet migrate recover   # once more",
            f"or give its memory up, as in a power cut: {start_without_memory(move)}",
        ),
        retry=Retry.LATER,
    )


_DO: Mapping[Action, Callable[[Trip, Facts], Awaitable[None]]] = {
    Action.ROLL_BACK: _roll_back,
    Action.COMMIT: _commit,
    Action.START_DESTINATION: _start_there,
    Action.RESUME: _resume,
}
