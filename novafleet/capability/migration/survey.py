"""What lies between two hosts: looked at once for all VMs that go from the one to the other."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.offer import Offer, Ports, offer
from novafleet.capability.migration.proof import proven
from novafleet.errors import NovaFleetError
from novafleet.model.migration import Path
from novafleet.together import together

FRESH = 120.0
"""Seconds for which a look is good."""
PORT = 49152
"""The first of QEMU's; whether it can be reached stands for all of them."""
BANNER = b"SSH-"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Door:
    """Where the source finds the destination's sshd."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Survey:
    """``offers`` of source and destination; ``door``, or in ``closed`` why the source finds none. ``paths``: by path
    name (direct, tunnel, relay) why it cannot be used; "": it can. ``tls`` likewise says whether a direct one would be
    encrypted, and ``postcopy`` why that is not possible by any. ``ports`` are the run's."""

    offers: tuple[Offer, Offer]
    door: Door | None = None
    closed: str = "nobody looked for it"
    paths: Mapping[str, str] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports, compare=False)


class Surveys:
    """Those of one run. A look for the door is a connection that never logs in, and sshd counts these: since OpenSSH
    9.8 it shuts a host out that makes more than 15 in as many seconds (``PerSourcePenalties``, sshd_config(5))."""

    def __init__(self) -> None:
        self._turns: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._ports = Ports()

    async def of(self, source: End, destination: End) -> Survey:
        """See ``survey``; at most ``FRESH`` seconds old."""
        what = source.host.name, destination.host.name
        found = await self._once(what, lambda: survey(source, destination))
        return replace(found, ports=self._ports)

    async def shared(self, source: End, destination: End, directories: Sequence[str]) -> frozenset[str]:
        """See ``proven``; likewise."""
        what = source.host.name, destination.host.name, "shared", *directories
        return await self._once(what, lambda: proven(source, destination, directories))

    async def _once(self, what: tuple[str, ...], look: Callable[[], Awaitable[Found]]) -> Found:
        async with self._turns[what]:
            at, known = self._known.get(what, (-math.inf, None))
            if time.monotonic() - at > FRESH:
                at, known = time.monotonic(), await look()
                self._known[what] = at, known
            return cast("Found", known)


async def survey(source: End, destination: End) -> Survey:
    """Look at both; changes nothing. Raises what sessions and libvirt raise."""
    here, there = await offers_of(source, destination)
    door, closed = await _find_door(source, destination, there)
    paths = {
        Path.DIRECT.value: await _reachable(source, door.address) if door else closed,
        Path.TUNNEL.value: no_tunnel(here, there) or closed,
        Path.RELAY.value: _root(source, here) or _root(destination, there),
        "postcopy": _faults(destination, there),
        "tls": "" if here.tls and there.tls else "QEMU has no certificates (/etc/pki/qemu) on both hosts",
    }
    return Survey((here, there), door, closed, paths)


async def offers_of(source: End, destination: End) -> tuple[Offer, Offer]:
    """What both offer now."""
    return await together(offer(source), offer(destination))


async def _find_door(source: End, destination: End, offered: Offer) -> tuple[Door | None, str]:
    """The first address of the destination at which an sshd answers the source; else why none did."""
    why = "the destination does not say where its sshd listens"
    for door in _doors(destination, offered):
        try:
            channel = await source.session.open_tcp(door.address, door.port, timeout=5.0)
        except NovaFleetError as error:
            why = f"{source.host.name} does not reach {door}: {error.cause or error.what}"
            continue
        try:
            greeting = await channel.read(len(BANNER))
        finally:
            await channel.close()
        if greeting.startswith(BANNER):
            return door, ""
        why = f"no sshd answers {source.host.name} at {door}"
    return None, why


def _doors(destination: End, offered: Offer) -> Sequence[Door]:
    """``migrate_address`` of the inventory, where the destination saw us come in, and where we went."""
    host = destination.host
    named = str(host.vars.get("migrate_address", ""))
    doors = [Door(named, offered.port or host.port or 22)] if named else []
    if offered.address:
        doors.append(Door(offered.address, offered.port))
    if host.address:
        doors.append(Door(host.address, host.port or 22))
    return tuple(dict.fromkeys(doors))


async def _reachable(source: End, address: str) -> str:
    """Nothing listens there now: being refused is as good as being let in, being ignored is not."""
    try:
        channel = await source.session.open_tcp(address, PORT, timeout=3.0)
    except NovaFleetError as error:
        cause = error.cause or error.what
        return "" if "refused" in cause.lower() else f"port {PORT} of {address} cannot be reached: {cause}"
    await channel.close()
    return ""


def no_tunnel(source: Offer, destination: Offer) -> str:
    """What a tunnel lacks on either host; "" for nothing."""
    lacking = [each for each in ("ssh", "ssh-keygen", "systemd-run", "systemd") if each not in source.programs]
    if lacking:
        return f"the source has no {', '.join(lacking)}"
    if not destination.may_use_libvirt:
        return f"user {destination.login} may use libvirt on the destination only as root, which a tunnel cannot become"
    if not destination.host_keys:
        return "the destination does not tell its host keys"
    return ""


def _faults(end: End, offered: Offer) -> str:
    """Of the destination: the guest runs there before its memory is there."""
    if offered.hands_faults:
        return ""
    what = f"{end.host.name} does not let QEMU handle page faults (userfaultfd), which post-copy needs"
    older = "/dev/userfaultfd" in offered.programs and not offered.opens_device
    return f"{what}: its QEMU is older than 8.0 and does not know /dev/userfaultfd" if older else what


def _root(end: End, offered: Offer) -> str:
    if offered.uid == 0 or end.host.become.enabled:
        return ""
    return f"user {offered.login} of {end.host.name} is not root and may not become it"
