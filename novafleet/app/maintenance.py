"""``host maintenance on|off``: a small file on the host, so that every controller sees it, and a note here for when the
host cannot be asked."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from novafleet.app.wiring import Places, World, open_world
from novafleet.errors import ConfigError
from novafleet.model.command import Command
from novafleet.model.fleet import Host
from novafleet.source.suggest import did_you_mean
from novafleet.store import cache, pictures

FILE = "/var/lib/novafleet/maintenance"
"""Read by collectors/system/collect.sh."""
CLOSED = "is in maintenance"
WRITE = 'mkdir -p "${1%/*}" && printf "%s\\n" "$2" >"$1.new" && chmod 644 "$1.new" && mv "$1.new" "$1"'
TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Whether a host is in maintenance; ``note`` says since when, by whom and why."""

    host: str
    on: bool
    note: str = ""


async def maintain(inventory: tuple[Path, ...], name: str, *, on: bool, reason: str = "") -> Maintenance:
    """Take a host out of service for new guests, or back. Raises ConfigError NF-MIG-301, and why the host cannot be
    reached."""
    async with open_world(inventory) as world:
        return await set_maintenance(world, host_of(world, name), on=on, reason=reason)


def host_of(world: World, name: str) -> Host:
    """A host by its name. Raises ConfigError NF-MIG-301."""
    if name not in world.fleet.hosts:
        hints = did_you_mean(name, world.fleet.hosts, "hosts")
        raise ConfigError(f"there is no host {name!r} in the inventory", code="NF-MIG-301", hints=hints)
    return world.fleet.hosts[name]


async def set_maintenance(world: World, host: Host, *, on: bool, reason: str = "") -> Maintenance:
    """Write or remove the file on the host, then the note here."""
    since = datetime.fromtimestamp(world.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = [since, f"{getpass.getuser()}@{socket.gethostname()}", *" ".join(reason.split()).split()]
    note = " ".join(words) if on else ""
    session = await world.sessions.get(host)
    become = host.become.enabled
    command = (
        Command.script(WRITE, FILE, note, become=become, mutates=True)
        if on
        else Command(("rm", "-f", "--", FILE), become=become, mutates=True)
    )
    await session.run(command, timeout=TIMEOUT)
    rest = {name: text for name, text in known_closed(world.places).items() if name != host.name}
    cache.write(_notes(world.places), {**rest, host.name: note} if on else rest)
    pictures.close(folder(world.places), host.name, CLOSED if on else "")
    return Maintenance(host.name, on, note)


def known_closed(places: Places) -> Mapping[str, str]:
    """Hosts that this controller put into maintenance, and the note of each."""
    return cache.read(_notes(places))


def folder(places: Places) -> Path:
    """Where pictures of hosts are kept."""
    return places.state / "pictures"


def _notes(places: Places) -> Path:
    return places.state / "maintenance.json"
