"""Observe hosts: one command each, all at once, a host that fails becomes facts that say so."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novafleet.errors import DeadlineError, NovaFleetError
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.observe.facts import host_facts, unobserved
from novafleet.observe.frame import Frame, command, split
from novafleet.observe.registry import read

if TYPE_CHECKING:
    from novafleet.model.fleet import Host
    from novafleet.observe.registry import Collector
    from novafleet.ports import Clock, Sessions

SECONDS = 45
"""What a collector may take, all of which run side by side. libvirt makes them wait for 30 s where QEMU has just begun
to hang."""
ANSWER = 15.0
"""And the rest: connection, sudo, processes that no signal ends."""


async def gather(
    sessions: Sessions, hosts: Sequence[Host], collectors: Sequence[Collector], clock: Clock
) -> FleetFacts:
    """Facts of every host asked; never raises for a host."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_observe(sessions, host, collectors, clock)) for host in hosts]
    return FleetFacts({task.result().host: task.result() for task in tasks})


async def _observe(sessions: Sessions, host: Host, collectors: Sequence[Collector], clock: Clock) -> HostFacts:
    try:
        documents = await collect(sessions, host, collectors)
        return host_facts(host.name, clock.now(), documents)
    except NovaFleetError as error:
        return unobserved(host.name, clock.now(), error)


async def collect(
    sessions: Sessions, host: Host, collectors: Sequence[Collector], seconds: int = SECONDS
) -> Mapping[str, Mapping[str, Any]]:
    """The parsed document of each collector, from one round trip. Raises DeadlineError NF-COL-003 where one took longer
    than ``seconds``."""
    session = await sessions.get(host)
    mark = f"@@{secrets.token_hex(8)}"
    probe = command(collectors, mark, seconds=seconds, become=host.become.enabled)
    completed = await session.run(probe, timeout=seconds + ANSWER)
    frames = split(completed.text, mark)
    late = [name for name, frame in frames.items() if frame.late]
    if late:
        raise _late(host.name, sorted(late), seconds)
    return {each.name: read(each, frames.get(each.name, Frame("", -1)).text, mark) for each in collectors}


def _late(host: str, names: Sequence[str], seconds: int) -> DeadlineError:
    return DeadlineError(
        f"{' and '.join(names)} did not answer within {seconds} s",
        code="NF-COL-003",
        where=host,
        hints=(f"virsh list; df   # on {host}: is it libvirtd that hangs, or a mount?",),
    )
