"""The files on the source that are one VM's alone, and go with it: never an image that others may stand on."""

from __future__ import annotations

from collections.abc import Iterator

from novafleet.capability.migration.beside import saved
from novafleet.capability.migration.build import MADE_LATER
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.moved import images, kept_files, snapshot_images
from novafleet.model.command import Command
from novafleet.model.migration import Move, MoveDisk, MoveFile
from novafleet.plan.storage import DIGEST_SUFFIX, IMAGE_PREFIX, PROTECTED_SUFFIX, volume_of

SEED = ".seed.iso"
"""How the cloud-init seeds end that NovaFleet makes; any other CD may be in other drives too."""
EXIST = 'for path; do [ ! -e "$path" ] || printf "%s\\n" "$path"; done'


async def belongings(source: End, move: Move) -> tuple[str, ...]:
    """Those of them that exist, without what lies on shared storage."""
    paths = candidates(move)
    said = (await source.session.run(Command.script(EXIST, *paths, become=True))).text
    return tuple(path for path in said.splitlines() if path in paths)


def candidates(move: Move) -> tuple[str, ...]:
    """Where those files would be, there or not."""
    return tuple(dict.fromkeys(_all(move)))


def _all(move: Move) -> Iterator[str]:
    for disk in move.disks:
        if not (disk.shared or disk.readonly):
            yield from _images(disk)
    files = [each.source for each in move.files if not each.shared and _alone(each)]
    for path in (*files, *(each.source for each in move.disks if not each.shared and each.source.endswith(SEED))):
        yield path
        yield f"{path}{DIGEST_SUFFIX}"
    volumes = {volume_of(disk.source) for disk in move.disks if not disk.shared}
    yield from (each.source for each in move.files if each.kind == "image" and volume_of(each.source) in volumes)
    yield from snapshot_images(move)
    for xml in move.snapshots:
        yield from kept_files(xml)
    yield saved(move)


def _alone(file: MoveFile) -> bool:
    return file.kind in MADE_LATER or file.source.endswith(SEED)


def _images(disk: MoveDisk) -> Iterator[str]:
    """The active image, and of those below only overlays and the volume of this very disk."""
    volume = volume_of(disk.source)
    own = [each.source for each in images(disk) if volume_of(each.source) == volume or each.source == disk.source]
    yield from (path for path in own if IMAGE_PREFIX not in path)
    yield f"{volume}{DIGEST_SUFFIX}"
    yield f"{volume}{PROTECTED_SUFFIX}"
