"""``plan(desired, apply(plan, facts)) == []`` for networks, also when ``apply`` was killed on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.capability.network import xml
from novafleet.capability.network.actions import ACTIONS
from novafleet.capability.network.plan import plan_down, plan_up
from novafleet.errors import Location
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.command import Completed
from novafleet.model.environment import Environment, LeaseEntry, Network, NetworkMode
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.plan import Change, PlanOptions, ResourceChange, Step
from novafleet.ports import ActionContext
from tests.unit.vm.world import Budget, Killable, KilledError

HOSTS = ("kvm1", "kvm2")
OPTIONS = PlanOptions()


@dataclass(frozen=True, slots=True)
class World:
    """Two hosts with a libvirt in memory each."""

    libvirt: dict[str, FakeHypervisor]
    budget: Budget

    def facts(self) -> FleetFacts:
        """What a look at them tells."""
        return FleetFacts({name: HostFacts(name, 0.0, networks=self.libvirt[name].networks) for name in HOSTS})

    async def run(self, desired: Environment, changes: Sequence[ResourceChange]) -> None:
        """Carry the steps out in their order. Raises KilledError where the budget ends."""
        steps = {step.id: step for change in changes for step in change.steps}
        order = TopologicalSorter({name: set(step.after) & steps.keys() for name, step in steps.items()})
        for name in order.static_order():
            await ACTIONS[steps[name].action].do(self._context(desired, steps[name]), steps[name].args)

    def _context(self, desired: Environment, step: Step) -> ActionContext:
        libvirt = Killable(self.libvirt[step.host], cast("Any", None), self.budget)
        context = SimpleNamespace(
            host=SimpleNamespace(name=step.host),
            session=SimpleNamespace(run=_nobody_to_plug_in),
            hypervisor=libvirt,
            environment=desired,
        )
        return cast("ActionContext", context)


async def _nobody_to_plug_in(command: Any, **_options: Any) -> Completed:
    return Completed(command.argv, 0, b"", b"")


def leases(subnet: int) -> st.SearchStrategy[tuple[LeaseEntry, ...]]:
    """Static leases of up to three VMs."""
    numbers = st.lists(st.integers(10, 14), unique=True, max_size=3)
    return numbers.map(
        lambda drawn: tuple(LeaseEntry(f"52:54:00:00:00:{n}", f"10.9.{subnet}.{n}", f"vm{n}") for n in drawn)
    )


@st.composite
def networks(draw: st.DrawFn, name: str) -> Network:
    """Any network of that name. Subnets are few, so that one takes over another's."""
    subnet = draw(st.sampled_from({"lan": (1, 2), "wan": (3, 4), "dmz": (5, 6)}[name]))
    dhcp = draw(st.booleans())
    hosts = tuple(sorted(draw(st.sets(st.sampled_from(HOSTS), min_size=1))))
    return Network(
        name,
        f"nettest-{name}",
        draw(st.sampled_from((NetworkMode.NAT, NetworkMode.ISOLATED, NetworkMode.ROUTED))),
        cidr=f"10.9.{subnet}.0/24",
        gateway=draw(st.sampled_from(("", f"10.9.{subnet}.254"))),
        dhcp=dhcp,
        dhcp_start=draw(st.sampled_from(("", f"10.9.{subnet}.100"))) if dhcp else "",
        domain=draw(st.sampled_from(("", "lab.test", "office.test"))),
        mtu=draw(st.sampled_from((0, 1400, 9000))),
        autostart=draw(st.booleans()),
        hosts=hosts,
        leases={host: draw(leases(subnet)) for host in hosts},
    )


@st.composite
def environments(draw: st.DrawFn) -> Environment:
    """Up to three networks."""
    names = draw(st.lists(st.sampled_from(("lan", "wan", "dmz")), unique=True))
    return Environment("nettest", Location("env.yml"), networks={name: draw(networks(name)) for name in names})


@st.composite
def edited(draw: st.DrawFn, before: Environment) -> Environment:
    """The same after a person changed a field or two of some of them."""
    after = dict(before.networks)
    for name in after:
        other = draw(networks(name))
        for field in draw(st.lists(st.sampled_from(("mode", "mtu", "domain", "autostart", "leases")), max_size=2)):
            here = {host: other.leases.get(host, ()) for host in after[name].hosts}
            change: dict[str, Any] = {field: here if field == "leases" else getattr(other, field)}
            after[name] = replace(after[name], **change)
    return replace(before, networks=after)


@st.composite
def histories(draw: st.DrawFn) -> list[Environment]:
    """An environment as it was edited over time, now and then wholly rewritten."""
    stages = [draw(environments())]
    for _ in range(draw(st.integers(0, 3))):
        stages.append(draw(edited(stages[-1]) if draw(st.integers(0, 4)) else environments()))
    return stages


def world() -> World:
    return World({name: FakeHypervisor(name) for name in HOSTS}, Budget())


def settled(seen: World, desired: Environment) -> None:
    """The hosts are as the file says, and nothing but what it says is there."""
    assert [each for each in plan_up(desired, seen.facts(), OPTIONS) if each.change is not Change.NONE] == []
    for name, libvirt in seen.libvirt.items():
        wanted = {each.libvirt_name: each for each in desired.networks.values() if name in each.hosts}
        assert libvirt.networks.keys() == wanted.keys()
        for fact in libvirt.networks.values():
            assert fact.active
            assert fact.autostart == wanted[fact.name].autostart
            assert xml.shape(fact.xml) == xml.shape(xml.definition("nettest", wanted[fact.name], name))


@settings(max_examples=20, deadline=None)
@given(histories())
def test_an_applied_plan_leaves_nothing_to_plan(stages: list[Environment]) -> None:
    async def check() -> None:
        seen = world()
        for desired in stages:
            await seen.run(desired, plan_up(desired, seen.facts(), OPTIONS))
            settled(seen, desired)
        await seen.run(stages[-1], plan_down(stages[-1], seen.facts(), OPTIONS))
        assert all(not libvirt.networks for libvirt in seen.libvirt.values())

    asyncio.run(check())


@settings(max_examples=20, deadline=None)
@given(histories(), st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_a_killed_apply_is_finished_by_the_next(stages: list[Environment], budgets: list[int]) -> None:
    async def check() -> None:
        seen = world()
        for desired, left in zip(stages, budgets, strict=False):
            seen.budget.left = left
            with suppress(KilledError):
                await seen.run(desired, plan_up(desired, seen.facts(), OPTIONS))
            seen.budget.left = None
        await seen.run(stages[-1], plan_up(stages[-1], seen.facts(), OPTIONS))
        settled(seen, stages[-1])

    asyncio.run(check())
