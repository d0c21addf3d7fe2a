"""A guest is frozen only where somebody will thaw it, and what was achieved is said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from novafleet.capability.snapshot.freeze import Freezer
from novafleet.errors import CommandError, SnapshotError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.command import Command, Completed

XML = """<domain type="qemu"><name>db</name><memory unit="MiB">32</memory><vcpu>1</vcpu>
<os><type arch="x86_64">hvm</type></os><devices/></domain>"""


@dataclass
class Host:
    """Remembers timers that are armed; ``broken`` has no systemd."""

    broken: bool = False
    armed: set[str] = field(default_factory=set)

    async def run(self, command: Command, **_more: Any) -> Completed:
        text, unit = command.argv[2], command.argv[4]
        if "systemd-run" in text:
            if self.broken:
                raise CommandError("it failed", status=127, stderr="systemd-run: not found")
            self.armed.add(unit)
        elif "is-active" in text:
            return Completed(command.argv, 0, b"armed\n" if unit in self.armed else b"", b"")
        else:
            self.armed.discard(unit)
        return Completed(command.argv, 0, b"", b"")


class Agent:
    """A guest agent with two file systems."""

    def __init__(self) -> None:
        self.frozen = False
        self.asked: list[str] = []

    def __call__(self, request: str) -> str:
        word = json.loads(request)["execute"].removeprefix("guest-fsfreeze-")
        self.asked.append(word)
        self.frozen = word == "freeze"
        return '{"return": 2}'


async def world(*, agent: Agent | None, running: bool = True, broken: bool = False) -> tuple[Any, Host]:
    libvirt, host = FakeHypervisor("kvm1"), Host(broken)
    await libvirt.define_domain(XML)
    if running:
        await libvirt.start_domain("db")
    if agent is not None:
        libvirt.agents["db"] = agent
    said: list[str] = []
    context = SimpleNamespace(hypervisor=libvirt, session=host, host=SimpleNamespace(name="kvm1"), progress=said.append)
    return context, host


def wish(mode: str = "fs", require: str = "") -> dict[str, str]:
    return {"label": "kvm1/db", "domain": "db", "mode": mode, "require": require}


async def test_frozen_with_a_timer_and_thawed_without() -> None:
    agent = Agent()
    context, host = await world(agent=agent)
    freezer = Freezer()
    assert await freezer.freeze(context, wish()) == {"mode": "fs", "why": "", "frozen": 2}
    assert (agent.frozen, len(host.armed)) == (True, 1)
    assert (await freezer.thaw(context, "kvm1/db")).mode == "fs"
    assert (agent.frozen, host.armed) == (False, set())
    await freezer.thaw(context, "kvm1/db")
    assert agent.asked == ["freeze", "thaw"]


@pytest.mark.parametrize(
    ("mode", "running", "broken", "agent", "got", "why"),
    [
        ("fs", True, False, None, "crash", "the guest agent does not answer"),
        ("fs", True, True, Agent(), "crash", "no timer on the host would thaw it: systemd-run: not found"),
        ("fs", False, False, Agent(), "offline", ""),
        ("live", True, False, None, "live", ""),
        ("crash", True, False, Agent(), "crash", ""),
    ],
)
async def test_what_can_be_had_is_taken_and_said(
    mode: str, running: bool, broken: bool, agent: Agent | None, got: str, why: str
) -> None:
    context, host = await world(agent=agent, running=running, broken=broken)
    outcome = await Freezer().freeze(context, wish(mode))
    assert (outcome["mode"], outcome["why"]) == (got, why)
    assert host.armed == set()
    assert agent is None or not agent.frozen


async def test_less_than_required_is_refused() -> None:
    context, _ = await world(agent=None)
    with pytest.raises(SnapshotError, match="cannot have a snapshot of mode fs") as caught:
        await Freezer().freeze(context, wish(require="fs"))
    assert (caught.value.code, caught.value.cause) == ("NF-SNAP-005", "the guest agent does not answer")


async def test_a_guest_a_killed_run_left_frozen_is_thawed_first() -> None:
    agent = Agent()
    context, _ = await world(agent=agent)
    await Freezer().freeze(context, wish())
    await Freezer().freeze(context, wish())
    assert agent.asked == ["freeze", "thaw", "freeze"]


async def test_a_guest_its_host_thawed_meanwhile_was_not_frozen() -> None:
    agent = Agent()
    context, _ = await world(agent=agent)
    freezer = Freezer()
    await freezer.freeze(context, wish())
    await context.hypervisor.thaw("db")
    after = await freezer.thaw(context, "kvm1/db")
    assert (after.mode, after.why) == ("crash", "the guest did not stay frozen: 30 s were not enough")
