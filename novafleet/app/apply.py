"""Run an accepted plan: connect, take the lease of every host that changes, and let the engine work."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from novafleet.app.context import Emit, Reached, contexts, reach
from novafleet.app.plan import Planned
from novafleet.app.registry import ACTIONS
from novafleet.app.wiring import World
from novafleet.errors import FencedError, LockHeldError, NovaFleetError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.dispatch import InProcess
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.lease import HostLease, hold_leases
from novafleet.execute.nested import include
from novafleet.execute.resume import Prior
from novafleet.model.plan import Plan
from novafleet.model.run import Event, NodeResult, NodeState
from novafleet.plan.graph import hosts
from novafleet.playbook.identity import domain_name
from novafleet.ports import Dispatcher
from novafleet.store.journal import Journal
from novafleet.together import together

SCOPES = {"vm": "vm", "volume": "vm", "stack": "stack"}
"""By the kind of a resource, whose lease is meant."""
log = logging.getLogger(__name__)

DISPATCHER: Dispatcher = InProcess()
NOTICES = {
    Stage.STOP: "stopping: what runs may end; Ctrl-C again cuts it off",
    Stage.ABORT: "cutting off what runs",
}


@dataclass(frozen=True, slots=True)
class Crew:
    """The hosts of a plan, connected, those that change under our lease; why others cannot be worked on."""

    run_id: str
    reached: Mapping[str, Reached]
    failed: Mapping[str, NovaFleetError]
    leases: Mapping[str, HostLease]

    def epoch(self, host: str) -> int:
        """The epoch of our lease on a host; 0 where nothing changes."""
        return self.leases[host].epoch if host in self.leases else 0

    def moved_on(self, planned: Planned) -> bool:
        """Did another run hold a lease between our look at a host and our lease on it?"""
        key = f"lease.{planned.plan.environment}"
        return any(
            str(lease.epoch - 1) != planned.facts.hosts[host].values.get(key, "0")
            for host, lease in self.leases.items()
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """One result per step, in the plan's order; ``cancelled`` when a person or a signal ended the run early;
    ``fenced`` says which hosts another run took over meanwhile."""

    results: tuple[NodeResult, ...]
    cancelled: bool = False
    fenced: tuple[FencedError, ...] = ()


@asynccontextmanager
async def assembled(
    world: World, planned: Planned, run_id: str, lock_wait: float, say: Callable[[str], None]
) -> AsyncIterator[Crew]:
    """Connect to every host the plan names and hold the lease of those it changes.

    Raises LockHeldError naming the holder when another controller changes one of them.
    """
    plan = planned.plan
    reached, failed = await reach(world, {step.host for step in plan.steps})
    sessions = [reached[name].session for name in hosts(plan) if name in reached]

    def waiting(held: LockHeldError) -> None:
        say(f"waiting: {held}")

    async with hold_leases(sessions, plan.environment, run_id, world.clock, wait=lock_wait, waiting=waiting) as held:
        lost = await _included(world, planned, reached, held.leases, run_id, lock_wait)
        failed = {**failed, **held.failed, **lost}
        fenced = {name: _fenced(reached[name], lease) for name, lease in held.leases.items()}
        usable = {name: each for name, each in {**reached, **fenced}.items() if name not in failed}
        world.sessions.leases = held.leases  # libvirt connections that are made anew ask for the lease first
        try:
            yield Crew(run_id, usable, failed, held.leases)
        finally:
            world.sessions.leases = {}


async def _included(
    world: World,
    planned: Planned,
    reached: Mapping[str, Reached],
    leases: Mapping[str, HostLease],
    run_id: str,
    wait: float,
) -> Mapping[str, NovaFleetError]:
    """Make the leases of what changes part of ours; why that failed, by host. Raises LockHeldError NF-LOCK-003."""
    failed: dict[str, NovaFleetError] = {}

    async def one(name: str, scopes: set[str]) -> None:
        try:
            await include(reached[name].session, leases[name], scopes, run_id, world.clock, wait=wait)
        except LockHeldError:
            raise
        except NovaFleetError as error:
            failed[name] = error

    await together(*(one(name, scopes) for name, scopes in changed(planned.plan).items() if name in leases))
    return failed


def changed(plan: Plan) -> Mapping[str, set[str]]:
    """By host, the leases of the VMs and stacks that a plan changes: backups of them, for example, hold these."""
    found: dict[str, set[str]] = {}
    for step in plan.steps:
        kind, _, name = step.resource.partition("@")[0].partition(".")
        name = name.partition(".")[0] if kind == "volume" else name
        if kind in SCOPES and not step.check:
            found.setdefault(step.host, set()).add(f"{SCOPES[kind]}.{domain_name(plan.environment, name)}")
    return found


def _fenced(reached: Reached, lease: HostLease) -> Reached:
    return replace(
        reached, session=fence(reached.session, lease), hypervisor=fence_hypervisor(reached.hypervisor, lease)
    )


async def apply(world: World, journal: Journal, planned: Planned, crew: Crew, before: Prior, emit: Emit) -> Applied:
    """Run the plan's steps; ``before`` is what an interrupted run left. Raises only when the journal does."""
    context = contexts(world, crew.reached, crew.failed, planned.environment, planned.facts, crew.run_id, emit)
    engine = Engine(ACTIONS, context, journal, world.clock, emit=emit, epoch=crew.epoch)
    cancellation = Cancellation()
    with cancellation.signals(lambda stage: emit(Event("notice", world.clock.now(), crew.run_id, text=NOTICES[stage]))):
        [results] = await DISPATCHER.run(
            crew.run_id,
            1,
            lambda _: engine.run(crew.run_id, planned.plan.steps, cancellation=cancellation, prior=before),
        )
    return Applied(results, cancellation.stage is not Stage.RUN, await _taken_over(crew, results))


async def _taken_over(crew: Crew, results: Sequence[NodeResult]) -> tuple[FencedError, ...]:
    """A takeover ends our connections, and a step may only have seen that: ask the hosts where something failed."""
    asked = {result.host for result in results if result.state is NodeState.FAILED} & crew.leases.keys()
    found = []
    for host in sorted(asked):
        try:
            await crew.leases[host].ensure()
        except FencedError as error:
            found.append(error)
        except NovaFleetError as error:
            log.info("the lease of %s cannot be looked at: %s", host, error)
    return tuple(found)
