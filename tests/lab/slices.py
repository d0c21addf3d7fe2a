"""Runs the plans of single capabilities on a real host: observe, plan, apply in the order of the edges."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from novafleet.capability.image import actions as image
from novafleet.capability.network import actions as network
from novafleet.capability.stack import actions as stack
from novafleet.capability.vm import actions as vm
from novafleet.capability.volume import actions as volume
from novafleet.execute import gate
from novafleet.execute.gather import gather
from novafleet.hypervisor.connect import Connections
from novafleet.model.command import Command
from novafleet.model.environment import Environment
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.fleet import Become, Fleet, Group, Host
from novafleet.model.plan import Change, PlanOptions, ResourceChange, Step
from novafleet.model.secret import Secret
from novafleet.observe.registry import collectors
from novafleet.ports import HostSession, Hypervisor, Outcome
from novafleet.transport.pool import SshPool

ACTIONS = {**network.ACTIONS, **image.ACTIONS, **volume.ACTIONS, **vm.ACTIONS, **stack.ACTIONS, **gate.ACTIONS}
STATE = Path.home() / ".local/state/novafleet/lab"
HTTPD = STATE / "images" / "httpd.tar"
ADDRESSES = {"kvm1": "172.31.250.11", "kvm2": "172.31.250.12", "kvm3": "172.31.250.13"}
Planner = Callable[[Environment, FleetFacts, PlanOptions], tuple[ResourceChange, ...]]


class SystemClock:
    """Real time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps by the clock")


@dataclass(slots=True)
class Context:
    """Implements ``ports.ActionContext``; remembers what was said."""

    host: Host
    session: HostSession
    hypervisor: Hypervisor
    environment: Environment
    facts: HostFacts
    run_id: str = "lab"
    said: list[str] = field(default_factory=list)

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        self.said.append(text)


@dataclass(slots=True)
class Bench:
    """One lab host, connected."""

    host: Host
    sessions: SshPool
    session: HostSession
    hypervisor: Hypervisor
    said: list[str] = field(default_factory=list)

    async def observe(self) -> FleetFacts:
        names = ("system", "libvirt", "storage", "containers")
        facts = await gather(self.sessions, [self.host], collectors(names), SystemClock())
        assert not facts.hosts[self.host.name].error, facts.hosts[self.host.name].error
        return facts

    async def context(self, environment: Environment) -> Context:
        facts = (await self.observe()).hosts[self.host.name]
        return Context(self.host, self.session, self.hypervisor, environment, facts, said=self.said)

    async def apply(
        self, environment: Environment, *planners: Planner, options: PlanOptions | None = None, only: str = ""
    ) -> tuple[dict[str, Outcome], tuple[ResourceChange, ...]]:
        """Plan with each planner, run all steps, return outcomes by step id and what was changed."""
        facts = await self.observe()
        changes = [change for planner in planners for change in planner(environment, facts, options or PlanOptions())]
        steps: Mapping[str, Step] = {step.id: step for change in changes for step in change.steps if only in step.id}
        context = Context(
            self.host, self.session, self.hypervisor, environment, facts.hosts[self.host.name], said=self.said
        )
        outcomes = {}
        for name in TopologicalSorter({step.id: step.after for step in steps.values()}).static_order():
            if name in steps:
                outcomes[name] = await ACTIONS[steps[name].action].do(context, steps[name].args)
        return outcomes, tuple(change for change in changes if change.change is not Change.NONE)

    async def sh(self, script: str, *arguments: str) -> str:
        """Output of a script run as root, whatever its status."""
        command = Command.script(script, *arguments, become=True)
        return (await self.session.run(command, check=False, timeout=120)).text.strip()


@asynccontextmanager
async def bench(name: str) -> AsyncIterator[Bench]:
    """A connection to a lab host; skips where there is no lab."""
    if not (STATE / "id_ed25519").exists():
        pytest.skip("no lab: run `novafleet lab up`")
    host = Host(
        name,
        ADDRESSES[name],
        user="ops",
        key=str(STATE / "id_ed25519"),
        known_hosts=str(STATE / "known_hosts"),
        become=Become(enabled=True),
    )
    fleet = Fleet({name: host}, {"all": Group("all", (name,)), "ungrouped": Group("ungrouped", (name,))})
    async with (
        SshPool(fleet, known_hosts=STATE / "known_hosts", passwords=lambda _host: Secret.of("")) as sessions,
        Connections(sessions) as hypervisors,
    ):
        yield Bench(host, sessions, await sessions.get(host), await hypervisors.get(host))
