"""The images of one disk: which hold what a snapshot saved, which are only in the way, and what to do next. Pure.

An overlay of ours is called ``STEM.nf-XXXXXXXX`` after the disk's own image, the stem, into which everything is merged
again when the last snapshot goes. Each move leaves a state from which the next can be told: a run that was killed
between any two of them is continued by whoever looks next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from novafleet.plan.storage import on_overlay, volume_of

BEGUN, DONE = "begun", "done"


def overlay(path: str, token: str) -> str:
    """The overlay of a disk; ``token`` is 8 hex digits."""
    return f"{volume_of(path)}.nf-{token}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image on a host. ``backing`` is known of our overlays only; ``internal`` are snapshots inside it; ``merge``
    is the mark of a merge into its backing: begun [the image above it, if it had one in a running guest] or done."""

    path: str
    backing: str = ""
    format: str = "qcow2"
    size: int = 0
    allocated: int = 0
    internal: tuple[str, ...] = ()
    merge: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """All images of one disk. ``active`` is what the VM writes to, ``running`` the chain QEMU has open (active first;
    empty when it is off), ``pinned`` what snapshots still need."""

    target: str
    images: Mapping[str, Image]
    active: str
    running: tuple[str, ...] = ()
    pinned: Collection[str] = ()

    def children(self, path: str) -> tuple[Image, ...]:
        """The overlays directly over an image."""
        return tuple(each for _, each in sorted(self.images.items()) if each.backing == path)


@dataclass(frozen=True, slots=True)
class Move:
    """``delete`` an image; merge it ``into`` the one below: ``pivot`` (it is written to), ``commit`` (QEMU has it
    open, ``above`` over it), ``fold`` (nobody has); ``settle``: it was merged, so whoever used it uses ``into``."""

    kind: str
    target: str
    image: str
    into: str = ""
    above: str = ""
    bytes: int = 0


def next_move(family: Family) -> Move | None:
    """The next of the moves that leave only images somebody needs."""
    mine = [image for path, image in sorted(family.images.items()) if on_overlay(path)]
    for image in mine:
        if _merged(family, image):
            return Move("settle", family.target, image.path, image.backing)
    for image in mine:
        if not (_needed(family, image) or family.children(image.path)):
            return Move("delete", family.target, image.path, bytes=image.allocated)
    return next((move for image in mine if (move := _merge(family, image)) is not None), None)


def _merged(family: Family, image: Image) -> bool:
    """Was it merged? QEMU puts the image above on the one below in the moment a commit is complete."""
    state, _, above = image.merge.partition(" ")
    done = state == BEGUN and above in family.images and family.images[above].backing == image.backing
    return state == DONE or done


def _needed(family: Family, image: Image) -> bool:
    used = image.path in (family.active, *family.running) or image.path in family.pinned
    return used or bool(image.internal)


def _merge(family: Family, image: Image) -> Move | None:
    """An image goes into the one below when nothing else lies on that, and no snapshot wants it as it is."""
    into = image.backing
    kept = into not in family.images or into in family.pinned or into == family.active or bool(image.internal)
    if kept or volume_of(into) != volume_of(image.path) or len(family.children(into)) != 1:
        return None
    kind, above = "fold", ""
    if image.path in family.running:
        place = family.running.index(image.path)
        kind, above = ("commit", family.running[place - 1]) if place else ("pivot", "")
    return Move(kind, family.target, image.path, into, above, image.allocated)
