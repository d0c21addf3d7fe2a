"""The images a stack's containers are made of: kept with it, and loaded where a host has none of the name.

An image never changes: what a snapshot holds of the same id is taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from novafleet.capability.backup.archive import archived, given_back
from novafleet.capability.backup.look import script
from novafleet.capability.backup.order import Order
from novafleet.errors import BackupError
from novafleet.model.backup import CopyMode, DiskCopy, Snapshot
from novafleet.model.command import Command
from novafleet.ports import ActionContext
from novafleet.repository.check import lost_of
from novafleet.repository.repository import Repository
from novafleet.repository.writer import Backup

FORMAT = "docker-archive"
PAUSE = "podman-pause"
"""What Podman makes itself for a pod."""
SAVE = """\
if [ "$("$1" image inspect --format '{{.Id}}' "$3" 2>/dev/null)" = "$2" ]; then set -- "$1" "$3"; fi
exec "$1" save "$2"
"""
"""By its name, which the archive then holds, unless that means another one by now."""
ID = '"$1" image inspect --format "{{.Id}}" "$2" 2>/dev/null'
LOAD = """\
said=$("$1" load -q) || exit
"$1" image inspect "$2" >/dev/null 2>&1 || "$1" tag "${said##* }" "$2"
"""


@dataclass(frozen=True, slots=True)
class StackImage:
    """An image of an engine, of about so many bytes. ``skip`` says why it is not backed up, empty when it is."""

    name: str
    id: str
    size: int
    skip: str = ""

    @property
    def part(self) -> str:
        """Its name in a snapshot."""
        return f"image.{self.name}"


async def images(ctx: ActionContext, engine: str, project: str) -> tuple[StackImage, ...]:
    """Those the containers of a stack are made of, by name. Raises BackupError NF-BAK-061."""
    asked = Command.script(script("stack_images.sh"), engine, project, become=True)
    said = (await ctx.session.run(asked, timeout=60.0)).text
    try:
        found = [_image(line) for line in said.splitlines()]
    except ValueError as exc:
        raise BackupError(
            f"{engine} says nothing of images that can be read",
            code="NF-BAK-061",
            where=ctx.host.name,
            cause=repr(said[:200]),
        ) from exc
    return tuple({each.name: each for each in found if PAUSE not in each.name}.values())


def _image(line: str) -> StackImage:
    number, size, name = line.split(" ", 2)
    skip = "its registry has it under that digest" if "@" in name else ""
    skip = "its engine does not have it any more" if int(size) < 0 else skip
    return StackImage(name, number, int(size), skip)


def facts(found: tuple[StackImage, ...]) -> Mapping[str, Any]:
    """What a snapshot says of them: the id of each, by name."""
    return {each.name: each.id for each in found if not each.skip}


def held(parent: Snapshot | None, image: StackImage) -> DiskCopy | None:
    """The same image in an earlier snapshot."""
    if parent is None or (parent.facts.get("images") or {}).get(image.name) != image.id:
        return None
    return parent.disks.get(image.part)


async def image_copies(
    ctx: ActionContext,
    repository: Repository,
    store: Backup,
    order: Order,
    engine: str,
    found: tuple[StackImage, ...],
    parent: Snapshot | None,
) -> Mapping[str, DiskCopy]:
    """Store those that ``parent`` does not hold. Raises BackupError NF-BAK-061."""
    copies = {}
    for image in (each for each in found if not each.skip):
        before = held(parent, image)
        if before is not None and parent is not None and not await lost_of(repository, parent, before):
            root, stored = await (await store.disk(before.size, before)).finish(before.size)
            same = replace(before, root=root, mode=CopyMode.INCREMENTAL, why="the same image as in the last backup")
            copies[image.part] = replace(same, bytes_read=0, bytes_stored=stored)
        else:
            copy = DiskCopy(image.part, image.name, 0, "", FORMAT, why="an image the last backup did not hold")
            save = Command.script(SAVE, engine, image.id, image.name, become=True)
            hint = f"{engine} save {image.id} >/dev/null   # on {ctx.host.name}, as root"
            copies[image.part] = await archived(ctx, store, order, copy, save, hint)
    return copies


async def load_images(ctx: ActionContext, repository: Repository, snapshot: Snapshot, engine: str) -> tuple[str, ...]:
    """Give the engine those of which it has none of the name; notes of those it has another one of. Raises BackupError
    NF-BAK-063."""
    notes = []
    for copy in (each for each in snapshot.disks.values() if each.format == FORMAT):
        there = (await ctx.session.run(Command.script(ID, engine, copy.target, become=True), check=False)).text.strip()
        if not there:
            load = Command.script(LOAD, engine, copy.target, become=True, mutates=True)
            await given_back(ctx, await repository.disk(copy), copy, load, "/var/lib")
        elif engine == snapshot.facts["engine"] and there != snapshot.facts["images"].get(copy.target):
            notes.append(
                f"{copy.target} is another image on {ctx.host.name} than the one backed up; it was left alone: "
                f"{engine} rmi {copy.target}, and restore once more, brings back the old one"
            )
    return tuple(notes)
