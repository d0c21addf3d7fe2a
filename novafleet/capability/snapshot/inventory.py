"""What of a VM goes into an archive, decided from what was seen. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.manifest import PACKED, ImagePart, Manifest, Part, SnapshotPart
from novafleet.errors import SnapshotError
from novafleet.plan.firmware import TPM_STATE
from novafleet.plan.storage import OVERLAY, on_overlay, volume_of

EXPORT = "export"
"""Tag of the snapshot an export is made from. A later export removes it when a killed one left it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An image as ``qemu-img`` tells; ``backing`` is a path."""

    path: str
    format: str
    size: int
    bytes: int
    backing: str = ""


@dataclass(slots=True)
class Contents:
    """What an archive will hold, and by member where each part of it lies on the host, and each text."""

    manifest: Manifest
    paths: dict[str, str] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


def layers(text: str) -> tuple[tuple[Layer, ...], ...]:
    """The chains ``chain.sh`` told of, each from the top. Raises SnapshotError NF-SNAP-001."""
    decoder, chains, rest = json.JSONDecoder(), [], text.strip()
    try:
        while rest:
            told, end = decoder.raw_decode(rest)
            rest = rest[end:].lstrip()
            chains.append(tuple(_layer(each) for each in told))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SnapshotError("qemu-img does not describe an image", cause=text[:200]) from exc
    return tuple(chains)


def bitmaps(text: str) -> tuple[str, ...]:
    """Names of the bitmaps in the topmost image ``chain.sh`` told of. Raises SnapshotError NF-SNAP-001."""
    try:
        data = json.loads(text)[0].get("format-specific", {}).get("data", {})
        return tuple(str(each["name"]) for each in data.get("bitmaps", ()))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
        raise SnapshotError("qemu-img does not describe an image", cause=text[:200]) from exc


def _layer(told: Mapping[str, Any]) -> Layer:
    specific = told.get("format-specific", {}).get("data", {})
    if "data-file" in specific:
        raise SnapshotError(
            "an image keeps its data in another file",
            code="NF-SNAP-004",
            where=str(told["filename"]),
            hints=("back the VM up instead: novafleet backup run",),
        )
    backing = str(told.get("full-backing-filename") or told.get("backing-filename", ""))
    size, used = int(told["virtual-size"]), int(told.get("actual-size", 0))
    return Layer(str(told["filename"]), str(told["format"]), size, used, backing)


def leaves(seen: Survey, chosen: Iterable[Taken]) -> Mapping[str, str]:
    """By path the format of every image that holds what a snapshot saved."""
    disks = [disk for taken in chosen for disk in taken.contents.values()]
    return {disk.path: seen.images[disk.path].format if disk.path in seen.images else disk.format for disk in disks}


def select(seen: Survey, frozen: Taken, names: Sequence[str]) -> tuple[Taken, ...]:
    """The snapshots that go along, parents first; of those that do not, children get the parent's parent."""
    wanted = {each.name for each in seen.snapshots if not names or each.name in names} - {frozen.name}
    parents = {each.name: each.fact.parent for each in seen.snapshots}

    def nearest(name: str) -> str:
        while name and name not in wanted:
            name = parents.get(name, "")
        return name

    kept = [each for each in seen.snapshots if each.name in wanted]
    current = nearest(frozen.fact.parent)
    return tuple(
        replace(each, fact=replace(each.fact, parent=nearest(each.fact.parent), current=each.name == current))
        for each in kept
    )


def contents(
    seen: Survey, frozen: Taken, chosen: Sequence[Taken], chains: Sequence[Sequence[Layer]], base: Manifest
) -> Contents:
    """The archive of a VM as snapshot ``frozen`` holds it, with the snapshots ``chosen``. ``base`` tells the rest."""
    made = Contents(base)
    members: dict[str, str] = {}
    targets = {disk.path: disk.target for each in (*chosen, frozen) for disk in each.contents.values()}
    stems = {disk.target: volume_of(disk.path) for disk in frozen.contents.values()}
    images: list[ImagePart] = []
    for chain in chains:
        target = targets[chain[0].path]
        for layer in reversed(chain):
            if layer.path not in members:
                image = _image(images, layer, target, stems[target], members.get(layer.backing, ""))
                members[layer.path] = image.part.member
                made.paths[image.part.member] = layer.path
                images.append(image)
    made.texts[base.definition] = seen.domain.xml.encode()
    snapshots = tuple(_snapshot(made, seen, each, number, members) for number, each in enumerate(chosen))
    nvram, tpm = _beside(made, seen, frozen, "now")
    active = {disk.target: members[disk.path] for disk in frozen.contents.values()}
    made.manifest = replace(base, active=active, images=tuple(images), snapshots=snapshots, nvram=nvram, tpm=tpm)
    return made


def _image(images: Sequence[ImagePart], layer: Layer, target: str, stem: str, backing: str) -> ImagePart:
    others = [each for each in images if each.target == target]
    token = layer.path[-8:] if OVERLAY.search(layer.path) else ""
    base = 0 if token or layer.path == stem else 1 + max((each.base for each in others), default=0)
    file = f"{target}.{len(others)}.{layer.format}"
    return ImagePart(
        Part(f"images/{file}{PACKED}", file, layer.bytes), target, layer.format, layer.size, backing, token, base
    )


def _snapshot(made: Contents, seen: Survey, taken: Taken, number: int, members: Mapping[str, str]) -> SnapshotPart:
    record = f"snapshots/{number:03}.xml"
    made.texts[record] = taken.fact.xml.encode()
    nvram, tpm = _beside(made, seen, taken, f"{number:03}")
    memory = _part(made, seen, taken.memory, f"memory/{number:03}", "memory")
    return SnapshotPart(
        taken.name,
        record,
        {disk.target: members[disk.path] for disk in taken.contents.values()},
        taken.fact.parent,
        taken.fact.current,
        _token(taken),
        memory,
        nvram,
        tpm,
    )


def _token(taken: Taken) -> str:
    """What the files it keeps beside the disks have in their names."""
    paths = [path.removesuffix(".mem") for path in taken.files]
    return next((path[-8:] for path in paths if on_overlay(path)), "")


def _beside(made: Contents, seen: Survey, taken: Taken, name: str) -> tuple[Part | None, Part | None]:
    found: dict[str, Part | None] = {"nvram": None, "tpm": None}
    for place, copy in taken.note.copies.items() if taken.note else ():
        what = "tpm" if place.startswith(f"{TPM_STATE}/") else "nvram"
        found[what] = _part(made, seen, copy, f"{what}/{name}", what)
    return found["nvram"], found["tpm"]


def _part(made: Contents, seen: Survey, path: str, member: str, file: str) -> Part | None:
    """What is not there (variables of a VM that never ran) is left out."""
    if path not in seen.beside:
        return None
    made.paths[member + PACKED] = path
    return Part(member + PACKED, file, seen.beside[path])


def leftovers(seen: Survey) -> Iterator[str]:
    """Snapshots that killed exports left."""
    return (each.name for each in seen.snapshots if each.note is not None and EXPORT in each.note.tags)
