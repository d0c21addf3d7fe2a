"""Hosts in memory: the fake libvirt, and a session whose pool is a table of files.

It obeys the very commands the actions send, and can be killed before any of them, so that planning, actions and
recovery are tested together. What the scripts do on a real file system is tested in ``tests/unit/volume``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from random import Random
from typing import Any
from xml.etree import ElementTree

from novafleet.capability.vm import actions as vm_actions
from novafleet.capability.vm import plan as vm_plan
from novafleet.capability.volume import actions as volume_actions
from novafleet.capability.volume import plan as volume_plan
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.command import Command, Completed
from novafleet.model.environment import Environment
from novafleet.model.facts import FileFact, FleetFacts, HostFacts, PoolFact
from novafleet.model.fleet import Host
from novafleet.model.plan import Change, PlanOptions, ResourceChange, Step
from tests.unit.vm.cases import GIB, POOL

ACTIONS = {**vm_actions.ACTIONS, **volume_actions.ACTIONS}
PRESENT = FileFact("", 0, 0, 0.0)


class KilledError(Exception):
    """The controller died here."""


@dataclass
class Budget:
    """How many commands may still run before the controller is killed; None: all."""

    left: int | None = None

    def spend(self) -> None:
        """Raises KilledError when it is used up."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KilledError


class MemorySession:
    """As much of ``ports.HostSession`` as VMs and volumes use."""

    def __init__(self, host: Host, budget: Budget, libvirt: FakeHypervisor) -> None:
        self.host = host
        self._libvirt = libvirt
        self.files: dict[str, FileFact] = {}
        self.digests: dict[str, str] = {}
        self._budget = budget
        self._scripts = {
            volume_actions._script("create.sh"): self._create,
            volume_actions.DELETE: self._remove,
            volume_actions.PROTECT: self._protect,
            vm_actions._script("seed.sh"): self._seed,
            vm_actions.FORGET_SEED: self._remove,
        }

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        if command.mutates:
            self._budget.spend()
        program, *words = command.argv
        if program == "sh":
            text = self._scripts[words[1]](*words[3:])
        elif "dumpxml" in words:
            text = self._libvirt.live_xml(words[-1])
        elif "info" in words:
            text = self._info(words[-1])
        else:
            path, size = (words[-2], words[-1].removesuffix("B"))
            text = self._resize(path, int(size))
        return Completed(command.argv, 0, text.encode(), b"")

    def put(self, path: str, **fields: Any) -> None:
        """A file."""
        self.files[path] = FileFact(path, **{"size": 1, "allocated": 1, "mtime": 0.0, **fields})

    def _create(
        self, path: str, form: str, size: str, how: str, image: str, image_form: str, digest: str, protect: str
    ) -> str:
        if path in self.files:
            return "present"
        virtual = int(size) or self.files[image].virtual_size
        backing = image if how == "overlay" else ""
        self.put(path, virtual_size=virtual, format=form, backing=backing, allocated=virtual // 2)
        self.digests.pop(path, None)
        if digest:
            self.digests[path] = digest
        self._protect(path + ".protected", protect)
        return "made"

    def _remove(self, path: str) -> str:
        self.files = {name: file for name, file in self.files.items() if not name.startswith(path)}
        self.digests.pop(path, None)
        return ""

    def _protect(self, mark: str, wanted: str) -> str:
        self.files.pop(mark, None)
        if wanted == "yes":
            self.put(mark)
        return ""

    def _seed(self, path: str, digest: str) -> str:
        self.put(path)
        self.digests[path] = digest
        return ""

    def _info(self, path: str) -> str:
        file = self.files[path]
        return json.dumps({"format": file.format, "virtual-size": file.virtual_size})

    def _resize(self, path: str, size: int) -> str:
        assert size > self.files[path].virtual_size
        self.files[path] = replace(self.files[path], virtual_size=size)
        return ""


class Killable:
    """The fake libvirt, spending the budget with each call that changes something; a guest needs its files."""

    def __init__(self, fake: FakeHypervisor, session: MemorySession, budget: Budget) -> None:
        self._fake = fake
        self._session = session
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        if name not in ("domain", "domains", "events", "version"):
            self._budget.spend()
        return getattr(self._fake, name)

    async def start_domain(self, name: str) -> None:
        """As QEMU, which opens every file first."""
        self._budget.spend()
        self._need((await self._fake.domain(name)).xml)
        await self._fake.start_domain(name)

    async def attach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Likewise."""
        self._budget.spend()
        self._need(xml)
        await self._fake.attach_device(name, xml, live=live)

    def _need(self, xml: str) -> None:
        sources = [source.get("file", "") for source in ElementTree.fromstring(xml).iter("source")]
        missing = [path for path in sources if path and path not in self._session.files]
        assert not missing, f"QEMU cannot open {missing}"


@dataclass
class Context:
    """``ports.ActionContext`` for one host."""

    host: Host
    session: Any
    hypervisor: Any
    environment: Environment
    facts: HostFacts
    run_id: str = "r1"
    said: list[str] = field(default_factory=list)

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        self.said.append(text)


class World:
    """Some hosts, and what ``up`` and ``down`` do to the VMs and volumes on them."""

    def __init__(self, *names: str, images: Iterable[tuple[str, int]] = (), chance: int = 0) -> None:
        self.budget = Budget()
        self.hosts = {name: Host(name, name) for name in names or ("kvm1",)}
        self.libvirt = {name: FakeHypervisor(name) for name in self.hosts}
        self.sessions = {
            name: MemorySession(host, self.budget, self.libvirt[name]) for name, host in self.hosts.items()
        }
        self.said: list[str] = []
        self.chance = Random(chance)
        for session in self.sessions.values():
            for digest, size in images:
                path = f"{POOL}/novafleet-image-{digest}"
                session.put(path, virtual_size=size, format="qcow2", allocated=size)

    async def networks(self, *names: str) -> None:
        """Start libvirt networks everywhere."""
        for libvirt in self.libvirt.values():
            for name in names:
                await libvirt.define_network(f"<network><name>{name}</name></network>")
                await libvirt.start_network(name)

    async def facts(self) -> FleetFacts:
        """What the collectors would tell."""
        return FleetFacts({name: await self._host_facts(name) for name in self.hosts})

    async def _host_facts(self, name: str) -> HostFacts:
        session = self.sessions[name]
        return HostFacts(
            name,
            0.0,
            domains={domain.name: domain for domain in await self.libvirt[name].domains()},
            pools={"default": PoolFact("default", True, POOL, 100 * GIB, 50 * GIB)},
            files=dict(session.files),
            digests=dict(session.digests),
        )

    async def plan(self, environment: Environment, intent: str = "up", **consent: bool) -> list[ResourceChange]:
        """All changes of VMs and volumes."""
        facts, options = await self.facts(), PlanOptions(**consent)
        if intent == "up":
            planners = (volume_plan.plan_up, vm_plan.plan_up)
        else:
            planners = (vm_plan.plan_down, volume_plan.plan_down)
        return [change for planner in planners for change in planner(environment, facts, options)]

    async def run(self, environment: Environment, intent: str = "up", **consent: bool) -> list[str]:
        """Plan and do it; ids of the steps done."""
        facts = await self.facts()
        changes = await self.plan(environment, intent, **consent)
        done = []
        for step in ordered(changes, self.chance):
            session = self.sessions[step.host]
            libvirt = Killable(self.libvirt[step.host], session, self.budget)
            context = Context(self.hosts[step.host], session, libvirt, environment, facts.hosts[step.host])
            action = ACTIONS[step.action]
            if action.probe is None or await action.probe(context, step.args) is None:  # type: ignore[arg-type]
                await action.do(context, step.args)  # type: ignore[arg-type]
            self.said += context.said
            done.append(step.id)
        return done


def ordered(changes: Iterable[ResourceChange], chance: Random) -> Iterator[Step]:
    """The steps that change something, in any order their edges allow. Raises CycleError."""
    steps = {step.id: step for change in changes for step in change.steps}
    graph = TopologicalSorter({step.id: [each for each in step.after if each in steps] for step in steps.values()})
    graph.prepare()
    ready: list[str] = []
    while graph.is_active():
        ready += graph.get_ready()
        name = ready.pop(chance.randrange(len(ready)))
        if not steps[name].check:
            yield steps[name]
        graph.done(name)


def changed(changes: Iterable[ResourceChange]) -> dict[str, str]:
    """Symbol and impact by address, of what changes."""
    return {each.address: f"{each.change} {each.impact}" for each in changes if each.change is not Change.NONE}


def reasons(changes: Iterable[ResourceChange], address: str) -> list[str]:
    """Why, with the place in the file."""
    found = next(each for each in changes if each.address == address)
    return [f"{reason.text} ({reason.source})" for reason in found.reasons]
