"""How each disk of a VM is read, and why so: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from novafleet.capability.backup.chain import Verdict, judge_offline, judge_online
from novafleet.capability.backup.image import Image
from novafleet.capability.backup.xml import GuestDisk
from novafleet.model.backup import CopyMode, DiskCopy, Snapshot
from novafleet.model.snapshot import Checkpoint
from novafleet.repository.seal import Kind
from novafleet.repository.walk import Lost


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """How one disk is read. ``parent`` is the copy that what is not read is inherited from; ``since`` the checkpoint
    whose changes are read, empty when everything is; ``marks``: it can carry the bitmap of the next backup; ``lost`` is
    what the repository has of ``parent`` no more, and is read again."""

    disk: GuestDisk
    image: Image
    mode: CopyMode
    why: str
    parent: DiskCopy | None
    since: str
    marks: bool
    lost: tuple[Lost, ...] = ()


def plan(
    disks: Sequence[GuestDisk],
    images: Mapping[str, Image],
    parent: Snapshot | None,
    known: tuple[Checkpoint, ...],
    *,
    running: bool,
    full: bool,
) -> tuple[DiskPlan, ...]:
    """One plan per disk that is backed up. ``known`` are libvirt's checkpoints, ``parent`` the newest snapshot."""
    return tuple(
        _plan(disk, images.get(disk.target, Image()), parent, known, running=running, full=full)
        for disk in disks
        if not disk.skip
    )


def _plan(
    disk: GuestDisk, image: Image, parent: Snapshot | None, known: tuple[Checkpoint, ...], *, running: bool, full: bool
) -> DiskPlan:
    copy = copy_of(disk, parent) if parent is not None else None
    if full or parent is None:
        verdict = Verdict("", "--full" if full else "first backup of this VM")
        return _made(disk, image, None, verdict, CopyMode.FULL, running=running)
    if copy is None:
        verdict = Verdict("", "not part of the last backup")
    else:
        verdict = judge_online(disk, image, copy, known) if running else judge_offline(disk, image, copy)
    mode = CopyMode.INCREMENTAL if verdict.since else CopyMode.HASH_INCREMENTAL
    return _made(disk, image, copy, verdict, mode, running=running)


def _made(
    disk: GuestDisk, image: Image, copy: DiskCopy | None, verdict: Verdict, mode: CopyMode, *, running: bool
) -> DiskPlan:
    why = verdict.why if running else f"the VM is off; {verdict.why}"
    return DiskPlan(disk, image, mode if running else CopyMode.OFFLINE, why, copy, verdict.since, image.holds_bitmaps)


def copy_of(disk: GuestDisk, parent: Snapshot) -> DiskCopy | None:
    """The last copy of a disk: by its name, which stays when its target moves."""
    return parent.disks.get(disk.name)


def without(plans: Sequence[DiskPlan], broken: Mapping[str, str]) -> tuple[DiskPlan, ...]:
    """The plans again, with those disks (by target, with the reason) read whole although a bitmap was to tell."""
    return tuple(_whole(each, broken[each.disk.target]) if each.disk.target in broken else each for each in plans)


def mending(plan: DiskPlan, lost: tuple[Lost, ...]) -> DiskPlan:
    """The plan again, when its last copy is not whole any more. Nothing can be inherited from a map that is lost."""
    if not lost:
        return plan
    if all(each.kind is Kind.DATA for each in lost):
        count = sum(each.length for each in lost)
        return replace(plan, lost=lost, why=f"{plan.why}; reads {count} bytes again that the repository lost")
    reason = Verdict("", "the repository lost the map of its last copy")
    running = plan.mode is not CopyMode.OFFLINE
    return _made(plan.disk, plan.image, None, reason, CopyMode.HASH_INCREMENTAL, running=running)


def _whole(plan: DiskPlan, reason: str) -> DiskPlan:
    return _made(plan.disk, plan.image, plan.parent, Verdict("", reason), CopyMode.HASH_INCREMENTAL, running=True)
