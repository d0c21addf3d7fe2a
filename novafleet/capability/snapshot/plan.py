"""What making a snapshot takes, decided from what was seen. Pure.

Most snapshots are external overlays: they work with raw disks, UEFI variables, running guests and every libvirt from
9.0, and going back or deleting does not depend on what that version can do (docs/adr/0005-jobs-and-images.md). One
inside the images costs nothing to remove and leaves a backup's record of changes whole: better for a VM that is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from novafleet.capability.snapshot import xml
from novafleet.capability.snapshot.images import overlay
from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.xml import Disk
from novafleet.errors import SnapshotError, SpaceError
from novafleet.plan.storage import on_overlay, volume_of

AUTO, INTERNAL, EXTERNAL = "auto", "internal", "external"
KINDS = (AUTO, INTERNAL, EXTERNAL)
CRASH, FS, LIVE, OFFLINE = "crash", "fs", "live", "offline"
MODES = (CRASH, FS, LIVE)
ROOM = 64 << 20
"""Bytes that must be free where an overlay begins to grow."""


@dataclass(frozen=True, slots=True)
class Creation:
    """``overlays`` and what they lie on by target; ``others`` are disks left out; ``memory`` is the file to
    make beside, empty without one; ``copies`` are made of what is no disk, by path. ``kind`` is internal | external
    because of ``choice``; ``strict``: nothing else will do."""

    overlays: Mapping[str, str]
    under: Mapping[str, tuple[str, str]]
    others: tuple[str, ...] = ()
    memory: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)
    kind: str = EXTERNAL
    choice: str = ""
    strict: bool = False


def plan_creation(seen: Survey, name: str, mode: str, token: str, wanted: str = AUTO) -> Creation:
    """Raises SnapshotError NF-SNAP-003 (the name is taken), NF-SNAP-004 (a disk no overlay can be laid over),
    NF-SNAP-014 (not inside the images), SpaceError NF-SNAP-007. ``wanted`` is one of KINDS."""
    if seen.find(name) is not None:
        raise SnapshotError(
            f"{seen.domain.name} has a snapshot {name}",
            code="NF-SNAP-003",
            hints=("choose another name, or leave it out: it is the time then",),
        )
    _refuse_disks(seen)
    kind, choice = choose(seen, mode, wanted)
    if kind == EXTERNAL:
        _refuse_encrypted(seen)
    saved = mode == LIVE and not seen.off and kind == EXTERNAL
    first = next(iter(seen.disks.values())).path
    creation = Creation(
        overlays={disk.target: overlay(disk.path, token) for disk in seen.disks.values()},
        under={disk.target: _under(seen, disk, token) for disk in seen.disks.values()},
        others=seen.others,
        memory=f"{overlay(first, token)}.mem" if saved else "",
        copies={path: overlay(path, token) for path in seen.extras},
        kind=kind,
        choice=choice,
        strict=wanted == INTERNAL or any(disk.encrypted for disk in seen.disks.values()),
    )
    _refuse_space(seen, creation)
    return creation


def _under(seen: Survey, disk: Disk, token: str) -> tuple[str, str]:
    """What the overlay of a disk lies on: not itself, where an attempt that was cut off put the VM on it already."""
    image = seen.images.get(disk.path)
    if image is None or disk.path != overlay(disk.path, token) or image.backing not in seen.images:
        return disk.path, disk.format
    return image.backing, seen.images[image.backing].format


def choose(seen: Survey, mode: str, wanted: str) -> tuple[str, str]:
    """Kind and why. Raises SnapshotError NF-SNAP-014 when it must be inside the images and cannot."""
    if wanted == EXTERNAL:
        return EXTERNAL, "asked for"
    reason = next(_against(seen, mode), "")
    if wanted == INTERNAL and reason:
        raise not_inside(seen, reason)
    if wanted == INTERNAL:
        return INTERNAL, "asked for"
    if not reason and not seen.off:
        reason = "the guest would stand still while its memory is saved into an image"
    if reason:
        return EXTERNAL, reason
    return INTERNAL, "the VM is off: removing it copies nothing, and what backups know of changes stays true"


def _against(seen: Survey, mode: str) -> Iterator[str]:
    """Why a snapshot cannot lie inside the images."""
    for disk in seen.disks.values():
        if disk.format != "qcow2":
            yield f"disk {disk.name} is {disk.format}, which holds none inside"
        elif on_overlay(disk.path):
            yield f"disk {disk.name} is on the overlay of another snapshot"
    if seen.extras:
        yield "UEFI variables or TPM state lie outside the images"
    if not seen.off and mode != LIVE:
        yield "the VM runs: inside an image its memory would have to be saved too"


def not_inside(seen: Survey, cause: str) -> SnapshotError:
    """NF-SNAP-014."""
    return SnapshotError(
        f"no snapshot of {seen.domain.name} can lie inside its images",
        code="NF-SNAP-014",
        cause=cause,
        hints=("--kind auto   # or external",),
    )


def _refuse_disks(seen: Survey) -> None:
    if not seen.disks:
        raise SnapshotError(f"{seen.domain.name} has no disk it writes to", code="NF-SNAP-004")
    for disk in seen.disks.values():
        if not disk.path:
            raise SnapshotError(
                f"no snapshot can be made of disk {disk.name} of {seen.domain.name}",
                code="NF-SNAP-004",
                cause=f"it is a {disk.kind}, not a file on the host",
                hints=("back it up instead: novafleet backup run",),
            )


def _refuse_encrypted(seen: Survey) -> None:
    for disk in seen.disks.values():
        if disk.encrypted:
            raise SnapshotError(
                f"no overlay can be laid over disk {disk.name} of {seen.domain.name}",
                code="NF-SNAP-004",
                cause="it is encrypted, and what the guest writes from then on would not be",
                hints=("shut it down: a snapshot inside the image is encrypted too", "or novafleet backup run"),
            )


def _refuse_space(seen: Survey, creation: Creation) -> None:
    needed: dict[str, int] = {}
    for path in creation.overlays.values():
        needed[_directory(path)] = needed.get(_directory(path), 0) + ROOM
    if creation.memory:
        needed[_directory(creation.memory)] += memory_of(seen)
    for directory, count in needed.items():
        if seen.free.get(directory, count) < count:
            raise SpaceError(
                f"no room for a snapshot of {seen.domain.name}",
                code="NF-SNAP-007",
                cause=f"{directory} has {seen.free[directory] >> 20} MiB free, {count >> 20} MiB are wanted",
                hints=("novafleet snapshot prune   # or ls: older snapshots may go",),
            )


def memory_of(seen: Survey) -> int:
    """Bytes a guest's memory may take when it is saved."""
    kib = xml.parse(seen.domain.xml).findtext("memory", "0").strip()
    return int(kib) << 10 if kib.isdecimal() else 0


def _directory(path: str) -> str:
    return volume_of(path).rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Return:
    """What going back takes: new overlays by target, the image each lies on, and what starts from saved memory."""

    overlays: Mapping[str, str]
    under: Mapping[str, tuple[str, str]]
    memory: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)


def plan_return(seen: Survey, taken: Taken, token: str) -> Return:
    """Raises SnapshotError NF-SNAP-009 when the snapshot cannot be gone back to: above all, an image it needs is not
    there any more."""
    cause, hint = next(_no_way_back(seen, taken), ("", ""))
    if cause:
        what = f"snapshot {taken.name} of {seen.domain.name} cannot be gone back to"
        raise SnapshotError(what, code="NF-SNAP-009", cause=cause, hints=(hint,))
    held = taken.contents or taken.inside
    return Return(
        overlays={disk.target: overlay(disk.path, token) for disk in held.values()},
        under={disk.target: (disk.path, seen.images[disk.path].format) for disk in held.values()},
        memory=taken.memory,
        copies=taken.note.copies if taken.note else {},
    )


def _no_way_back(seen: Survey, taken: Taken) -> Iterator[tuple[str, str]]:
    """Why, and what helps."""
    if not seen.domain.persistent:
        cause = "the VM is transient: when it stops, libvirt forgets it and all its snapshots"
        yield cause, "make it persistent: virsh define FILE, of what virsh dumpxml says"
    if not (taken.contents or taken.inside):
        yield "it holds no disk of the VM", f"virsh snapshot-dumpxml {seen.domain.name} {taken.name}   # what it is"
    stems = {volume_of(disk.path) for disk in seen.disks.values()}
    for disk in (*taken.contents.values(), *taken.inside.values()):
        if disk.path not in seen.images and volume_of(disk.path) in stems:
            yield f"disk {disk.name}: {disk.path} is missing", "restore from a backup: novafleet backup ls"
        elif disk.path not in seen.images:
            cause = f"disk {disk.name} was on {disk.path} then, where the VM has no disk now"
            yield cause, "attach that disk again: virsh attach-disk; or see virsh snapshot-revert"


def nearest(seen: Survey, name: str) -> Taken:
    """A snapshot by name. Raises SnapshotError NF-SNAP-002 with names like it."""
    found = seen.find(name)
    if found is not None:
        return found
    known = [each.name for each in seen.snapshots]
    near = get_close_matches(name, known, 1)
    raise SnapshotError(
        f"{seen.domain.name} has no snapshot {name}",
        code="NF-SNAP-002",
        cause=f"it has {', '.join(known) or 'none'}",
        hints=(f"did you mean {near[0]}?",) if near else ("novafleet snapshot ls",),
    )
