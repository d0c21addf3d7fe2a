"""The disks of a restore: an empty image each on the host, exported to us alone, written, closed, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from novafleet.capability.backup.look import script
from novafleet.capability.backup.pour import pour
from novafleet.capability.backup.restore_names import Names
from novafleet.capability.backup.restore_xml import NewDisk
from novafleet.errors import BackupError, CommandError, SpaceError
from novafleet.model.backup import DiskCopy
from novafleet.model.command import Command
from novafleet.nbd.client import connect_nbd
from novafleet.ports import ActionContext, BlockSource

TOLD_EVERY = 16 << 20
"""Bytes between two words about progress."""


@dataclass(frozen=True, slots=True)
class RestoredDisk:
    """A disk on the host; ``written`` are the bytes that are data."""

    name: str
    target: str
    path: str
    format: str
    size: int
    written: int


@dataclass(slots=True)
class Progress:
    """How much of all disks is written."""

    ctx: ActionContext
    total: int
    done: int = 0
    told: int = -TOLD_EVERY

    def tell(self, name: str, count: int) -> None:
        """So many bytes more of a disk."""
        self.done += count
        if self.done - self.told >= TOLD_EVERY or self.done >= self.total:
            self.told = self.done
            self.ctx.progress(f"{name}: restore", min(self.done, self.total), self.total)


async def write_disks(
    ctx: ActionContext,
    names: Names,
    copies: Mapping[str, DiskCopy],
    sources: Mapping[str, BlockSource],
    progress: Progress,
) -> tuple[RestoredDisk, ...]:
    """Write each disk to its part file. Raises BackupError NF-BAK-039, SpaceError NF-BAK-035, BlockError."""
    return tuple([await _disk(ctx, names, copy, sources[name], progress) for name, copy in copies.items()])


async def _disk(
    ctx: ActionContext, names: Names, copy: DiskCopy, source: BlockSource, progress: Progress
) -> RestoredDisk:
    final = names.final(copy)
    part, unit, socket = names.part(copy), names.unit_of(copy), names.socket(copy)
    words = (unit, socket, "disk", final.format, part, str(copy.size), part.replace("$", "$$"))
    await _run(ctx, Command.script(script("restore_serve.sh"), *words, become=True, mutates=True), part)
    client = await connect_nbd(await ctx.session.open_unix(socket), "disk")
    try:
        if client.size < copy.size:
            raise _differs(ctx, part, f"{client.size} bytes instead of {copy.size}")
        written = await pour(source, client, lambda count: progress.tell(copy.name, count))
    finally:
        await client.close()
    await _finish(ctx, unit, final, part, copy.size)
    return RestoredDisk(copy.name, copy.target, final.path, final.format, copy.size, written)


async def _finish(ctx: ActionContext, unit: str, final: NewDisk, part: str, size: int) -> None:
    words = (unit, final.format, part)
    try:
        done = await ctx.session.run(Command.script(script("restore_finish.sh"), *words, become=True, mutates=True))
        found = json.loads(done.stdout).get("virtual-size")
    except CommandError as error:
        raise _differs(ctx, part, error.stderr.strip()) from error
    except ValueError as exc:
        raise _differs(ctx, part, f"qemu-img says {done.text[:200]!r}") from exc
    if not isinstance(found, int) or not size <= found < size + 512:  # qcow2 counts in sectors
        raise _differs(ctx, part, f"{found} bytes instead of {size}")


async def _run(ctx: ActionContext, command: Command, path: str) -> str:
    try:
        return (await ctx.session.run(command)).text
    except CommandError as error:
        if "No space left" in error.stderr:
            raise no_room(ctx, path.rpartition("/")[0], error.stderr.strip()) from error
        raise


def no_room(ctx: ActionContext, pool: str, cause: str) -> SpaceError:
    """The pool cannot hold the disks."""
    return SpaceError(
        f"too little room in {pool} for the disks",
        code="NF-BAK-035",
        where=ctx.host.name,
        cause=cause,
        hints=("choose another pool: --pool NAME", f"df -h {pool}   # on {ctx.host.name}"),
    )


def _differs(ctx: ActionContext, path: str, cause: str) -> BackupError:
    return BackupError(
        "a restored disk is not what was written", code="NF-BAK-039", where=f"{ctx.host.name}:{path}", cause=cause
    )
