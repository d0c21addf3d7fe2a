"""May a disk's changes be told by its bitmap, relative to the copy the repository has? (docs/guides/backup.md)

A bitmap is believed when it has the random name the copy was committed with: no other image can have it by chance.
Everything else (a missing, torn or foreign bitmap, another image, a smaller disk) costs a whole read, never a byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.capability.backup.image import IN_ORDER, Image
from novafleet.capability.backup.xml import GuestDisk, covered
from novafleet.model.backup import DiskCopy
from novafleet.model.snapshot import Checkpoint


@dataclass(frozen=True, slots=True)
class Verdict:
    """``since`` is the checkpoint whose bitmap tells what changed; empty, with the reason, when none can."""

    since: str
    why: str


def judge_online(disk: GuestDisk, image: Image, copy: DiskCopy, known: tuple[Checkpoint, ...]) -> Verdict:
    """For a running VM: what libvirt knows. It checks the bitmaps themselves when the job begins."""
    if reason := _unfit(disk, image, copy, lineage=(disk.path, *disk.chain)):
        return Verdict("", reason)
    checkpoint = next((each for each in known if each.name == copy.checkpoint), None)
    if checkpoint is None:
        return Verdict("", f"libvirt does not know checkpoint {copy.checkpoint} any more")
    if disk.target not in covered(checkpoint.xml):
        return Verdict("", f"checkpoint {copy.checkpoint} does not cover {disk.target}")
    return Verdict(copy.checkpoint, f"changes since {copy.checkpoint}{_grown(image, copy)}")


def judge_offline(disk: GuestDisk, image: Image, copy: DiskCopy) -> Verdict:
    """For a VM that is off: the bitmap of the active image itself, and of no image below it.

    ``qemu-nbd -B`` takes a backing image's bitmap for an overlay that has none, and an overlay's own tells only of
    itself: so the copy must have been made from this very image.
    """
    if reason := _unfit(disk, image, copy, lineage=(disk.path,)):
        return Verdict("", reason)
    top, *below = image.layers
    flags = top.bitmaps.get(copy.checkpoint)
    if flags is None:
        return Verdict("", f"{top.path} has no bitmap {copy.checkpoint}")
    if flags != IN_ORDER:
        return Verdict("", f"bitmap {copy.checkpoint} was not closed cleanly ({', '.join(sorted(flags))})")
    if any(copy.checkpoint in layer.bitmaps for layer in below):
        return Verdict("", f"bitmap {copy.checkpoint} is spread over several images")
    return Verdict(copy.checkpoint, f"changes since {copy.checkpoint}{_grown(image, copy)}")


def _unfit(disk: GuestDisk, image: Image, copy: DiskCopy, lineage: tuple[str, ...]) -> str:
    if not image.holds_bitmaps:
        return f"{disk.format} images{' of version 2' if disk.format == 'qcow2' else ''} record no changes"
    if not copy.checkpoint:
        return "the last backup left no bitmap on this disk"
    if copy.path not in lineage:
        return f"another image than last time ({copy.path})"
    if image.size < copy.size:
        return f"it shrank from {copy.size} to {image.size} bytes"
    return ""


def _grown(image: Image, copy: DiskCopy) -> str:
    return f"; grew from {copy.size} to {image.size} bytes" if image.size > copy.size else ""
