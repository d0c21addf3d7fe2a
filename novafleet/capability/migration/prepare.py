"""What a VM needs on its destination before it comes: made there and nowhere else, and taken back as it was noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from novafleet.capability.migration.build import MADE_LATER
from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.filters import make_filters, unmake_filters
from novafleet.capability.migration.keep import keep
from novafleet.capability.migration.manifest import FOLDER, forget, make, note_lease
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.through import ThroughController
from novafleet.errors import MigrationError
from novafleet.model.command import Command
from novafleet.model.migration import Mode, Move, MoveDisk, MoveFile, Phase
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, DIGEST_SUFFIX, PROTECTED_SUFFIX, volume_of
from novafleet.together import together

SIDECARS = 'for path; do [ ! -f "$path" ] || printf "%s\\t%s\\n" "$path" "$(head -n 1 -- "$path")"; done'
DIGEST = 'printf "%s\\n" "$2" >"$1.part" && mv -f -- "$1.part" "$1"'
DUMP = ("virsh", "-q", "-c", "qemu:///system", "net-dumpxml")


async def prepare(ends: Ends, move: Move) -> None:
    """Make empty volumes (overlays on ``backing``; thin stays thin), bring what they stand on, seed and kernel, add
    DHCP leases and network filters. Convergent for one job; each thing is in the host's manifest before it exists, and
    the move beside it.

    Raises MigrationError NF-MIG-401 when something of another is in the way (nothing was touched then) and NF-MIG-404,
    SpaceError NF-MIG-402, MigrationError NF-MIG-411 when what came is not what was sent.
    """
    destination = ends.destination
    files, later = _files(move), _later(move)
    volumes = [_volume(move, disk) for disk in move.disks if not disk.shared]
    sides, cargo = await _sidecars(ends.source, move), _cargo(move)
    if cargo:
        await make(destination, move, [*files, *volumes, *sides, *later], look=True)
    await ends.note(Phase.PREPARING, {"manifest": f"{destination.host.name}:{FOLDER}/{move.job}"})
    await together(keep(destination, move), _pool(destination, (*files, *volumes)))
    if cargo:
        await make(destination, move, [*files, *later])
        await carry(ends, cargo, ThroughController(move.wanted.bandwidth))
        await _seal(destination, move)
    await make(destination, move, [*volumes, *sides] if cargo else [*later, *volumes, *sides])
    await _add_leases(destination, move)
    if move.filters:
        await make_filters(destination, move)


async def _pool(destination: End, things: Sequence[tuple[str, ...]]) -> None:
    if any(words[1].startswith(f"{DEFAULT_PATH}/") for words in things):
        await destination.hypervisor.ensure_pool(DEFAULT_POOL, DEFAULT_PATH)


def _brought(move: Move) -> tuple[MoveFile, ...]:
    """Files that are carried over while the VM may still run: nobody writes to them."""
    return tuple(each for each in move.files if not (each.shared or each.present or each.kind in MADE_LATER))


def _files(move: Move) -> list[tuple[str, ...]]:
    fixed = [disk.path for disk in move.disks if disk.readonly and not disk.shared]
    brought = [("image" if each.kind == "image" else "file", each.path, "0") for each in _brought(move)]
    return [*brought, *(("file", path, "0") for path in fixed)]


def _later(move: Move) -> list[tuple[str, ...]]:
    return [("beside", each.path) for each in move.files if each.kind in MADE_LATER and not each.shared]


def _volume(move: Move, disk: MoveDisk) -> tuple[str, ...]:
    """The empty volume of a disk; for a cold copy an empty file, which becomes the image."""
    if disk.readonly or move.ladder[:1] == (Mode.COLD,):
        return ("file", disk.path, "0")
    return ("disk", disk.path, disk.format, str(disk.size), disk.backing, disk.backing_format)


def _cargo(move: Move) -> list[Cargo]:
    fixed = [Cargo(disk.target, disk.source, disk.path) for disk in move.disks if disk.readonly and not disk.shared]
    return [*(Cargo(each.kind, each.source, each.path) for each in _brought(move)), *fixed]


async def _sidecars(source: End, move: Move) -> list[tuple[str, ...]]:
    """What NovaFleet keeps beside files: the digest of their content or image, the mark of a protected volume."""
    pairs = [(volume_of(disk.source), volume_of(disk.path)) for disk in move.disks if not disk.shared]
    pairs += [(each.source, each.path) for each in _brought(move) if each.kind != "image"]
    named = {
        f"{one}{suffix}": f"{other}{suffix}" for one, other in pairs for suffix in (DIGEST_SUFFIX, PROTECTED_SUFFIX)
    }
    done = await source.session.run(Command.script(SIDECARS, *named, become=True))
    rows = (line.partition("\t") for line in done.text.splitlines())
    return [("side", named[path], text) for path, tab, text in rows if tab and path in named]


async def _seal(destination: End, move: Move) -> None:
    """A base image has its digest beside it once it is whole: only then others use it."""
    for each in _brought(move):
        if each.kind == "image" and each.sha256:
            words = (f"{each.path}{DIGEST_SUFFIX}", each.sha256)
            await destination.session.run(Command.script(DIGEST, *words, become=True, mutates=True))


async def _add_leases(destination: End, move: Move) -> None:
    for name, hosts in move.leases.items():
        network = move.wanted.networks.get(name, name)
        done = await destination.session.run(Command((*DUMP, network), become=True))
        known = set(_hosts(done.text))
        for xml in hosts:
            if not set(_hosts(f"<ip>{xml}</ip>")) <= known:
                await note_lease(destination, move.job, network, xml)
                await destination.hypervisor.update_network_host(network, xml, add=True)


def _hosts(xml: str) -> Iterator[tuple[str, str]]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise MigrationError("a DHCP lease is no XML", code="NF-MIG-404", cause=f"{xml[:200]}: {exc}") from exc
    return ((host.get("mac", "").lower(), host.get("ip", "")) for host in root.iter("host"))


async def unprepare(destination: End, job: str) -> tuple[str, ...]:
    """Remove what the manifest of ``job`` on that host says was made, if it still is the same thing; the paths.

    A job without a manifest there made nothing. Never touches a domain: undefine it before.
    """
    done = await destination.session.run(script("unmake.sh", FOLDER, job, mutates=True))
    rows = [line.split(" ", 2) for line in done.text.splitlines()]
    for row in rows:
        if row[0] == "lease" and len(row) == 3:
            await destination.hypervisor.update_network_host(row[1], row[2], add=False)
    await unmake_filters(destination, [row[2] for row in rows if row[0] == "filter" and len(row) == 3])
    await forget(destination, job)
    return tuple(" ".join(row[1:]) for row in rows if row[0] == "removed")
