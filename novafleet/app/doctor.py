"""``host doctor``: look at everything a host needs, say what is fine and how to mend what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from novafleet.app.acceleration import remember
from novafleet.app.wiring import World, open_world
from novafleet.capability.host.check import check_fleet, check_host
from novafleet.errors import NovaFleetError
from novafleet.execute.gather import collect
from novafleet.inventory import select
from novafleet.model.command import Command
from novafleet.model.finding import Finding, Severity
from novafleet.model.fleet import Host
from novafleet.observe.registry import collectors
from novafleet.ports import HostSession

COLLECTORS = ("system", "containers", "acceleration", "libvirt")
ROOT_AND_CLOCK = "id -u; date +%s"


@dataclass(slots=True)
class _Examined:
    host: str
    findings: list[Finding] = field(default_factory=list)
    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: tuple[float, float] = (0.0, 0.0)


async def doctor(inventory: Sequence[Path], limit: str = "") -> tuple[Finding, ...]:
    """Findings of every selected host, by host; a host that cannot be reached is itself a finding."""
    async with open_world(inventory) as world:
        hosts = select(world.fleet, "all", limit)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_examine(world, host)) for host in hosts]
    seen = [task.result() for task in tasks]
    answered = [each for each in seen if "system" in each.documents]
    remember(world.places, [each.documents for each in answered])
    between = check_fleet(
        {each.host: each.documents for each in answered}, {each.host: each.asked for each in answered}
    )
    findings = [finding for each in seen for finding in each.findings]
    return tuple(sorted((*findings, *between), key=lambda finding: [host.name for host in hosts].index(finding.host)))


async def _examine(world: World, host: Host) -> _Examined:
    examined = _Examined(host.name)
    began = world.clock.monotonic()
    try:
        session = await world.sessions.get(host)
        await session.run(Command(("true",)), timeout=20.0)
    except NovaFleetError as error:
        examined.findings.append(_finding(host, "ssh", error))
        return examined
    took = (world.clock.monotonic() - began) * 1000
    examined.findings.append(Finding(host.name, "ssh", Severity.OK, f"connected and ran a command in {took:.0f} ms"))
    await _look_inside(world, host, session, examined)
    return examined


async def _look_inside(world: World, host: Host, session: HostSession, examined: _Examined) -> None:
    try:
        examined.documents["root"] = await _ask_root(world, host, session, examined)
    except NovaFleetError as error:
        examined.findings.append(_finding(host, "sudo", error))
        return
    try:
        documents = await collect(world.sessions, host, collectors(COLLECTORS))
    except NovaFleetError as error:
        examined.findings.append(_finding(host, "collect", error))
        return
    examined.documents |= documents
    examined.documents["socket"] = await _dial(world, host)
    examined.findings.extend(check_host(host.name, examined.documents))


async def _ask_root(world: World, host: Host, session: HostSession, examined: _Examined) -> Mapping[str, str]:
    await session.run(Command(("true",), become=host.become.enabled), timeout=20.0)  # sudo's first time is slow
    before = world.clock.now()
    answer = await session.run(Command.script(ROOT_AND_CLOCK, become=host.become.enabled), timeout=20.0)
    examined.asked = (before, world.clock.now())
    uid, _, clock = answer.text.strip().partition("\n")
    return {"uid": uid, "clock": clock, "way": "sudo" if host.become.enabled else "login"}


async def _dial(world: World, host: Host) -> Mapping[str, str]:
    try:
        hypervisor = await world.hypervisors.get(host)
        await hypervisor.version()
    except NovaFleetError as error:
        return {"error": f"libvirt through SSH: {error}", "fix": "; ".join(error.hints)}
    return {"path": "forwarded"}


def _finding(host: Host, check: str, error: NovaFleetError) -> Finding:
    cause = f" ({error.cause})" if error.cause else ""
    return Finding(host.name, check, Severity.ERROR, f"{error.what}{cause}", "; ".join(error.hints))
