"""The data path of one migration: where the source's libvirt and QEMU find those of the destination."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from novafleet.capability.migration import tunnel
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.offer import Offer
from novafleet.capability.migration.relay import LOOPBACK, Complaints, Lane, relayed
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.survey import Survey, no_tunnel, offers_of, survey
from novafleet.errors import ConfigError, NovaFleetError
from novafleet.model.migration import Path
from novafleet.together import to_the_end, together

FOLDER = "/run/novafleet/migrate"
"""One folder a job on both hosts, passable for QEMU's user; gone with the host's next boot."""


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
async def open_route(
    path: Path, source: End, destination: End, job: str, known: Survey | None = None
) -> AsyncIterator[Route]:
    """Make the way of one job; ``path`` is not AUTO (``survey`` and ``choose`` say which), ``known`` what was seen of
    both hosts a moment ago. Leaving the context takes everything away again, on both hosts.

    Raises MigrationError NF-MIG-103 (no SSH between the hosts), NF-MIG-105 (no free port), ChannelError where sshd
    does not forward, and what the sessions raise.
    """
    folder, ends = folder_of(job), (source, destination)
    ground = known or await _ground(path, ends)
    async with AsyncExitStack() as stack:
        lanes = _lanes(path, folder)
        if _on_ports(path, ground.offers):
            now = await offers_of(source, destination) if known else ground.offers  # others took ports meanwhile
            lanes = (*map(Lane, stack.enter_context(ground.ports.promised(2, ends, now))), lanes[-1])
        offers, route = ground.offers, _route(path, destination, ground, folder, lanes)
        stack.push_async_callback(_close, ends, job, tunnel.unit(job) if route.survives_controller else "")
        listener = "root" if route.survives_controller else offers[0].login
        there = offers[1].login if offers[1].uid else ""
        await together(
            source.session.run(script("route_folder.sh", folder, listener, "", mutates=True)),
            destination.session.run(script("route_folder.sh", folder, offers[1].owner, there, mutates=True)),
        )
        if route.survives_controller:
            await tunnel.dig(ends, ground, job, folder, lanes)
        else:
            await stack.enter_async_context(relayed(source, destination, lanes, offers[0].owner, route.complaints))
        yield route


async def _ground(path: Path, ends: tuple[End, End]) -> Survey:
    """A relay needs no way from host to host."""
    return Survey(await offers_of(*ends)) if path is Path.RELAY else await survey(*ends)


def folder_of(job: str) -> str:
    """Where the sockets of a job are. Raises NovaFleetError for what is no job's name."""
    if not re.fullmatch(r"[0-9a-f]{8}", job):
        raise NovaFleetError(f"{job!r} is no job")
    return f"{FOLDER}/{job}"


def _lanes(path: Path, folder: str) -> Sequence[Lane]:
    """Those of memory and disks, unless they go directly; libvirt's is the last."""
    control = Lane(f"{folder}/lv.sock", daemon=True)
    return (control,) if path is Path.DIRECT else (Lane(f"{folder}/mem.sock"), Lane(f"{folder}/nbd.sock"), control)


def _on_ports(path: Path, offers: tuple[Offer, Offer]) -> bool:
    """Are loopback ports needed? Where QEMU is confined to sockets of its own making, and where the login user of a
    tunnel may not use QEMU's."""
    foreign = path is Path.TUNNEL and offers[1].uid != 0
    return path is not Path.DIRECT and (foreign or any(each.confined for each in offers))


def _route(path: Path, destination: End, ground: Survey, folder: str, lanes: Sequence[Lane]) -> Route:
    uri = f"qemu+unix:///system?socket={quote(f'{folder}/lv.sock')}"
    if path is Path.DIRECT:
        return _direct(destination, ground, uri, folder)
    memory, disks = lanes[0].at, lanes[1].at
    if isinstance(memory, str):
        return Route(path, uri, f"unix://{memory}", f"unix://{disks}", folder, path is Path.TUNNEL)
    places = (f"tcp://{LOOPBACK}:{memory}", f"tcp://{LOOPBACK}:{disks}")
    return Route(path, uri, *places, folder, path is Path.TUNNEL, {"listen_address": LOOPBACK})


def _direct(destination: End, ground: Survey, uri: str, folder: str) -> Route:
    """Only libvirt's own connection is carried: by a tunnel where one is possible, else by us."""
    here, there = ground.offers
    named = str(destination.host.vars.get("migrate_address", ""))
    address = ground.door.address if ground.door else named or there.address
    survives = ground.door is not None and not no_tunnel(here, there)
    flags = frozenset({"tls"} if here.tls and there.tls else ())
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
