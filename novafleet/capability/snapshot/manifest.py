"""What an archive of a VM says of itself: its images and what lies on what, its snapshots, in JSON. Pure.

Nothing in it names a place on a host: an import decides where things go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from novafleet.errors import SnapshotError
from novafleet.model.encode import decode, encode

NAME = "manifest.json"
FORMAT = "novafleet-vm"
VERSION = 1
FORMATS = ("qcow2", "raw")
TARGET = re.compile(r"[a-z][a-z0-9]{0,15}")
TOKEN = re.compile(r"[0-9a-f]{8}")
FILE = re.compile(r"[a-z][a-z0-9.]{0,63}")
MEMBER = re.compile(r"[a-z]+(/[a-z0-9.]+)?")
PACKED = ".tar.zst"


@dataclass(frozen=True, slots=True)
class Part:
    """A compressed tar with one entry ``file`` (an image, saved memory, or a folder). ``bytes``: what it unpacks to,
    without holes."""

    member: str
    file: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image of disk ``target``; ``backing`` is the member of the one it lies on. ``token`` tells an overlay of ours
    (8 hex digits); the disk's own image has none, and what lies below that has ``base`` counting from 1."""

    part: Part
    target: str
    format: str
    size: int
    backing: str = ""
    token: str = ""
    base: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """A snapshot: ``record`` is the member with libvirt's XML, ``parent`` another one's name, ``images`` by target the
    member that holds it. ``token`` names what is kept beside the disks: memory, UEFI variables, TPM state."""

    name: str
    record: str
    images: Mapping[str, str]
    parent: str = ""
    current: bool = False
    token: str = ""
    memory: Part | None = None
    nvram: Part | None = None
    tpm: Part | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A VM. ``active`` is by target the member its disks go on from; ``mode`` what its state now is worth (crash | fs |
    offline); ``made`` seconds since the epoch."""

    domain: str
    uuid: str
    host: str
    made: float
    mode: str
    active: Mapping[str, str]
    images: tuple[ImagePart, ...]
    snapshots: tuple[SnapshotPart, ...] = ()
    nvram: Part | None = None
    tpm: Part | None = None
    definition: str = "domain.xml"
    libvirt: int = 0
    qemu: int = 0
    format: str = FORMAT
    version: int = VERSION
    notes: tuple[str, ...] = field(default=())

    def image(self, member: str) -> ImagePart:
        """One image. Raises KeyError."""
        return next((each for each in self.images if each.part.member == member), None) or _absent(member)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that is compressed."""
        beside = [self.nvram, self.tpm]
        beside += [part for each in self.snapshots for part in (each.memory, each.nvram, each.tpm)]
        return (*(each.part for each in self.images), *(part for part in beside if part is not None))


def _absent(member: str) -> ImagePart:
    raise KeyError(member)


def write(manifest: Manifest) -> bytes:
    """The member."""
    return json.dumps(encode(manifest), indent=1, sort_keys=True).encode() + b"\n"


def read(text: bytes, where: str) -> Manifest:
    """The manifest, everything it refers to checked. Raises SnapshotError NF-SNAP-010."""
    try:
        manifest = decode(Manifest, json.loads(text))
        found = next(_wrong(manifest), "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _bad(where, f"{NAME}: {exc}") from exc
    if found:
        raise _bad(where, f"{NAME}: {found}")
    return manifest


def _bad(where: str, cause: str) -> SnapshotError:
    hints = ("an archive of a newer NovaFleet? then import with that",)
    return SnapshotError("the archive cannot be used", code="NF-SNAP-010", where=where, cause=cause, hints=hints)


def _wrong(manifest: Manifest) -> Iterator[str]:
    """What names something that cannot be, in words."""
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        yield f"it is {manifest.format!r} version {manifest.version!r}, not {FORMAT!r} version {VERSION}"
    for part in manifest.parts:
        if not FILE.fullmatch(part.file) or not MEMBER.fullmatch(part.member) or not _count(part.bytes):
            yield f"member {part.member!r}"
    seen: set[str] = set()
    for image in manifest.images:  # whatever an image lies on comes before it
        if image.part.member in seen or (image.backing and image.backing not in seen):
            yield f"image {image.part.member!r} is out of order"
        seen.add(image.part.member)
        yield from _wrong_image(manifest, image)
    for target, member in manifest.active.items():
        if manifest.image(member).target != target:
            yield f"disk {target!r} is on an image of another"
    if not manifest.active:
        yield "it has no disk"
    yield from _wrong_snapshots(manifest)


def _wrong_image(manifest: Manifest, image: ImagePart) -> Iterator[str]:
    member = image.part.member
    if not TARGET.fullmatch(image.target) or image.format not in FORMATS:
        yield f"image {member!r}"
    if not _count(image.size) or not _count(image.base):
        yield f"image {member!r}: {image.size!r} bytes"
    if image.target not in manifest.active:
        yield f"image {member!r} is of a disk {image.target!r} the VM does not have"
    if image.token and not TOKEN.fullmatch(image.token):
        yield f"image {member!r}: token {image.token!r}"
    if image.backing and (image.format != "qcow2" or manifest.image(image.backing).target != image.target):
        yield f"image {member!r} lies on {image.backing!r}"
    places = [(each.target, each.token, each.base) for each in manifest.images]
    if places.count((image.target, image.token, image.base)) != 1:
        yield f"image {member!r} is there twice"


def _count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _wrong_snapshots(manifest: Manifest) -> Iterator[str]:
    known: set[str] = set()
    for each in manifest.snapshots:  # parents come before children
        if not each.name or each.name in known or (each.parent and each.parent not in known):
            yield f"snapshot {each.name!r} is out of order"
        known.add(each.name)
        if each.token and not TOKEN.fullmatch(each.token):
            yield f"snapshot {each.name!r}: token {each.token!r}"
        if not each.token and (each.memory or each.nvram or each.tpm):
            yield f"snapshot {each.name!r} has no token"
        for target, member in each.images.items():
            if manifest.image(member).target != target:
                yield f"snapshot {each.name!r}: disk {target!r} is on an image of another"
