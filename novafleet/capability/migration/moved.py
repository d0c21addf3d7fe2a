"""Which files of a VM move, and where each is on the destination. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from posixpath import basename, dirname
from xml.etree import ElementTree

from novafleet.capability.migration.carry import Cargo
from novafleet.model.migration import Move, MoveDisk
from novafleet.plan.storage import volume_of

NOTE = "novafleet: "
"""How our note in a snapshot's description begins (capability/snapshot/note.py)."""


def images(disk: MoveDisk) -> list[Cargo]:
    """The files of a disk down to the image that the destination has: the active one, and those of its snapshots."""
    chain = disk.chain or (disk.source,)
    own = chain[: _depth(disk, chain)]
    return [Cargo(disk.target, path, disk.path if path == disk.source else placed(disk, path)) for path in own]


def _depth(disk: MoveDisk, chain: tuple[str, ...]) -> int:
    name = basename(disk.backing)
    return next((at for at, path in enumerate(chain) if at and name and basename(path) == name), len(chain))


def placed(disk: MoveDisk, path: str) -> str:
    """Where an image under the active one goes: beside it."""
    return f"{dirname(disk.path)}/{basename(path)}"


def _below(disk: MoveDisk) -> str:
    """The image of the source that the destination's ``backing`` stands for."""
    chain = disk.chain or (disk.source,)
    return chain[min(_depth(disk, chain), len(chain) - 1)]


def kept_files(snapshot: str) -> Iterator[str]:
    """What a snapshot keeps beside the disks: saved memory, and the copies our note in its description names."""
    root = ElementTree.fromstring(snapshot)
    for memory in root.iterfind("memory[@snapshot='external']"):
        if path := memory.get("file", ""):
            yield path
    line = root.findtext("description", "").strip().rpartition("\n")[2]
    if line.startswith(NOTE):
        yield from _copies(line.removeprefix(NOTE))


def snapshot_images(move: Move) -> tuple[str, ...]:
    """Images of the VM's disks that only snapshots need: other branches than the one it is on."""
    volumes = {volume_of(disk.source) for disk in move.disks if not (disk.shared or disk.readonly)}
    known = {path for disk in move.disks for path in (disk.source, *disk.chain)} | {each.source for each in move.files}
    named = [
        source.get("file", "")
        for xml in move.snapshots
        for source in ElementTree.fromstring(xml).iterfind(".//disk/source")
    ]
    return tuple(path for path in dict.fromkeys(named) if volume_of(path) in volumes and path not in known)


def _copies(note: str) -> Iterator[str]:
    try:
        copies = json.loads(note).get("copies", {})
        yield from (str(path) for path in copies.values())
    except (ValueError, AttributeError):
        return  # not ours, or spoilt: it names nothing


def kept_place(move: Move, path: str) -> str:
    """Where what lies beside a disk goes: beside it."""
    folders = {dirname(disk.source): dirname(disk.path) for disk in move.disks if not disk.shared}
    return f"{folders.get(dirname(path), dirname(path))}/{basename(path)}"


def relocations(move: Move) -> Mapping[str, str]:
    """From where files were to where they are on the destination, for those whose path is another there."""
    pairs = [(each.source, each.target) for disk in move.disks if not disk.shared for each in images(disk)]
    pairs += [(_below(disk), disk.backing) for disk in move.disks if disk.backing and not disk.shared]
    pairs += [(each.source, each.path) for each in move.files]
    kept = (*snapshot_images(move), *(path for xml in move.snapshots for path in kept_files(xml)))
    pairs += [(path, kept_place(move, path)) for path in kept]
    return {was: now for was, now in pairs if was != now}
