"""The data path of one migration: where the source's libvirt and QEMU find those of the destination."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from novafleet.capability.migration import tunnel
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.offer import Offer, free_ports, offer
from novafleet.capability.migration.relay import LOOPBACK, Complaints, Lane, relayed
from novafleet.capability.migration.scripts import script
from novafleet.errors import ConfigError, NovaFleetError
from novafleet.model.migration import Path
from novafleet.together import to_the_end, together

FOLDER = "/run/novafleet/migrate"
"""One folder a job on both hosts, passable for QEMU's user; gone with the host's next boot."""
PORT = 49152
"""The first of QEMU's; whether it can be reached stands for all of them."""


@dataclass(frozen=True, slots=True)
class Route:
    """An open way from source to destination, alive until its context ends.

    ``uri``: the destination's libvirt as the source's libvirtd opens it. ``memory_uri``, ``disks_uri``: ``unix://PATH``
    (the same path on both hosts: listen there on the destination, connect there on the source) or ``tcp://…``; disks
    "" for wherever libvirt puts them. ``directory``: a directory of this job on both hosts that QEMU's user may enter.
    ``parameters``, ``flags``: what else ``jobs.Migrations.migrate`` gets. ``survives_controller``: a migration under
    way goes on when the controller dies. ``complaints``: what went wrong inside.
    """

    path: Path
    uri: str
    memory_uri: str
    disks_uri: str
    directory: str
    survives_controller: bool
    parameters: Mapping[str, object] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    complaints: Complaints = field(default_factory=Complaints)

    @property
    def disks_socket(self) -> str:
        """The UNIX socket of ``disks_uri``, for whoever speaks NBD over the route itself (cold, warm); "" for TCP."""
        return self.disks_uri.removeprefix("unix://") if self.disks_uri.startswith("unix://") else ""


@asynccontextmanager
async def open_route(path: Path, source: End, destination: End, job: str) -> AsyncIterator[Route]:
    """Make the way of one job; ``path`` is not AUTO (``probe_paths`` and ``choose`` say which). Leaving the context
    takes everything away again, on both hosts.

    Raises MigrationError NF-MIG-103 (no SSH between the hosts), NF-MIG-105 (no free port), ChannelError where sshd
    does not forward, and what the sessions raise.
    """
    folder, ends = folder_of(job), (source, destination)
    offers = await asyncio.gather(offer(source), offer(destination))
    lanes = _lanes(path, folder, (offers[0], offers[1]))
    route = await _route(path, ends, (offers[0], offers[1]), folder, lanes)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, ends, job, tunnel.unit(job) if route.survives_controller else "")
        listener = "root" if route.survives_controller else offers[0].login
        await together(
            source.session.run(script("route_folder.sh", folder, listener, mutates=True)),
            destination.session.run(script("route_folder.sh", folder, offers[1].owner, mutates=True)),
        )
        if route.survives_controller:
            await tunnel.dig(ends, (offers[0], offers[1]), job, folder, lanes)
        else:
            await stack.enter_async_context(relayed(source, destination, lanes, offers[0].owner, route.complaints))
        yield route


def folder_of(job: str) -> str:
    """Where the sockets of a job are. Raises NovaFleetError for what is no job's name."""
    if not re.fullmatch(r"[0-9a-f]{8}", job):
        raise NovaFleetError(f"{job!r} is no job")
    return f"{FOLDER}/{job}"


def _lanes(path: Path, folder: str, offers: tuple[Offer, Offer]) -> Sequence[Lane]:
    """libvirt's socket, and those of memory and disks unless they go directly: loopback ports where QEMU is confined
    to sockets of its own making, or where the login user of a tunnel may not use them."""
    control = Lane(f"{folder}/lv.sock", daemon=True)
    if path is Path.DIRECT:
        return (control,)
    foreign = path is Path.TUNNEL and offers[1].uid != 0
    if foreign or any(each.confined for each in offers):
        return (*(Lane(port) for port in free_ports(2, *offers)), control)
    return (Lane(f"{folder}/mem.sock"), Lane(f"{folder}/nbd.sock"), control)


async def _route(
    path: Path, ends: tuple[End, End], offers: tuple[Offer, Offer], folder: str, lanes: Sequence[Lane]
) -> Route:
    uri = f"qemu+unix:///system?socket={quote(f'{folder}/lv.sock')}"
    if path is Path.DIRECT:
        return await _direct(ends, offers, uri, folder)
    memory, disks = lanes[0].at, lanes[1].at
    if isinstance(memory, str):
        return Route(path, uri, f"unix://{memory}", f"unix://{disks}", folder, path is Path.TUNNEL)
    places = (f"tcp://{LOOPBACK}:{memory}", f"tcp://{LOOPBACK}:{disks}")
    return Route(path, uri, *places, folder, path is Path.TUNNEL, {"listen_address": LOOPBACK})


async def _direct(ends: tuple[End, End], offers: tuple[Offer, Offer], uri: str, folder: str) -> Route:
    """Only libvirt's own connection is carried: by a tunnel where one is possible, else by us."""
    door, _ = await tunnel.find_door(*ends, offers[1])
    named = str(ends[1].host.vars.get("migrate_address", ""))
    address = door.address if door else named or offers[1].address
    survives = door is not None and not tunnel.why_not(*offers)
    flags = frozenset({"tls"} if offers[0].tls and offers[1].tls else ())
    return Route(Path.DIRECT, uri, f"tcp://{_bracketed(address)}", "", folder, survives, flags=flags)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _close(ends: tuple[End, End], job: str, unit: str) -> None:
    named = zip(ends, (unit, ""), strict=True)
    closing = ((end.session, script("route_close.sh", folder_of(job), each, mutates=True)) for end, each in named)
    await to_the_end(*(session.run(command, check=False) for session, command in closing))


async def close_route(source: End, destination: End, job: str) -> None:
    """Take away what a route of this job left behind when its controller died: folders, sockets, the key's line in
    authorized_keys, the unit. Convergent; nothing there is fine."""
    await to_the_end(_close((source, destination), job, tunnel.unit(job)), tunnel.distrust(destination, job))


async def probe_paths(source: End, destination: End) -> Mapping[str, str]:
    """By path name (direct, tunnel, relay) why it cannot be used; "": it can. ``tls`` likewise says whether a direct
    one would be encrypted, and ``postcopy`` why that is not possible by any. Changes nothing."""
    here, there = await asyncio.gather(offer(source), offer(destination))
    door, closed = await tunnel.find_door(source, destination, there)
    direct = "" if door is None else await _reachable(source, door.address)
    return {
        Path.DIRECT.value: direct if door else closed,
        Path.TUNNEL.value: tunnel.why_not(here, there) or closed,
        Path.RELAY.value: _root(source, here) or _root(destination, there),
        "postcopy": _faults(destination, there),
        "tls": "" if here.tls and there.tls else "QEMU has no certificates (/etc/pki/qemu) on both hosts",
    }


async def _reachable(source: End, address: str) -> str:
    """Nothing listens there now: being refused is as good as being let in, being ignored is not."""
    try:
        channel = await source.session.open_tcp(address, PORT, timeout=3.0)
    except NovaFleetError as error:
        cause = error.cause or error.what
        return "" if "refused" in cause.lower() else f"port {PORT} of {address} cannot be reached: {cause}"
    await channel.close()
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


def choose(paths: Mapping[str, str], wanted: Path) -> Path:
    """The path to take: the one asked for, else direct with TLS, else tunnel, else relay.

    Raises ConfigError NF-MIG-102 when the one asked for, or any, cannot be used.
    """
    usable = [path for path in (Path.DIRECT, Path.TUNNEL, Path.RELAY) if not paths.get(path.value, "not looked at")]
    if wanted in usable:
        return wanted
    secure = [path for path in usable if path is not Path.DIRECT or not paths.get("tls", "not looked at")]
    if wanted is Path.AUTO and secure:
        return secure[0]
    whys = [f"{name}: {paths.get(name)}" for name in paths if wanted in (Path.AUTO, name) and paths.get(name)]
    raise ConfigError(
        f"no data path {'' if wanted is Path.AUTO else wanted.value + ' '}between the hosts",
        code="NF-MIG-102",
        cause="; ".join(whys),
        hints=("--path auto   # takes the best that works",),
    )
