"""What a step gets to work with: its host's session and libvirt, the desired state, and a voice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from novafleet.app.wiring import World
from novafleet.errors import NovaFleetError
from novafleet.model.environment import Environment
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.fleet import Host
from novafleet.model.plan import Step
from novafleet.model.run import Event
from novafleet.ports import HostSession, Hypervisor

Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Reached:
    """One host, connected."""

    host: Host
    session: HostSession
    hypervisor: Hypervisor


@dataclass(frozen=True, slots=True)
class StepContext:
    """Implements ``ports.ActionContext``."""

    reached: Reached
    environment: Environment
    facts: HostFacts
    run_id: str
    node: str
    emit: Emit
    now: Callable[[], float]

    @property
    def host(self) -> Host:
        """The host this step runs on."""
        return self.reached.host

    @property
    def session(self) -> HostSession:
        """Its session."""
        return self.reached.session

    @property
    def hypervisor(self) -> Hypervisor:
        """Its libvirt."""
        return self.reached.hypervisor

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        """Tell whoever watches."""
        resource = self.node.rpartition("/")[0]
        self.emit(
            Event("step_progress", self.now(), self.run_id, self.node, resource, self.host.name, text, done, total)
        )


async def reach(world: World, names: Iterable[str]) -> tuple[Mapping[str, Reached], Mapping[str, NovaFleetError]]:
    """Connect to hosts, all at once: those that answered, and why the others did not."""
    reached: dict[str, Reached] = {}
    failed: dict[str, NovaFleetError] = {}

    async def one(host: Host) -> None:
        try:
            session = await world.sessions.get(host)
            reached[host.name] = Reached(host, session, await world.hypervisors.get(host))
        except NovaFleetError as error:
            failed[host.name] = error

    async with asyncio.TaskGroup() as group:
        for name in sorted(set(names)):
            group.create_task(one(world.fleet.hosts[name]))
    return reached, failed


def contexts(
    world: World,
    reached: Mapping[str, Reached],
    failed: Mapping[str, NovaFleetError],
    environment: Environment,
    facts: FleetFacts,
    run_id: str = "",
    emit: Emit = silent,
) -> Callable[[Step], StepContext]:
    """A factory of contexts for the engine; it raises a host's own error where that was not reached."""

    def context(step: Step) -> StepContext:
        if step.host in failed:
            raise failed[step.host]
        host_facts = facts.hosts[step.host]
        return StepContext(reached[step.host], environment, host_facts, run_id, step.id, emit, world.clock.now)

    return context
