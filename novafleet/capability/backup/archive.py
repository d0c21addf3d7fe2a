"""What a command on a host writes, kept in a repository as one of a snapshot's disks; and given back to another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from novafleet.capability.backup.order import Order
from novafleet.errors import BackupError, Retry
from novafleet.model.backup import DiskCopy, Extent
from novafleet.model.command import Command
from novafleet.nbd.ahead import read_many
from novafleet.ports import ActionContext, BlockSource
from novafleet.repository.writer import Backup

MOST = 1 << 50
"""Bytes an archive may have at most; how many it has is known at its end."""
PIECE = 1 << 20
CHANGED = 1
"""tar's status when files changed while it read them."""


async def archived(
    ctx: ActionContext, store: Backup, order: Order, copy: DiskCopy, command: Command, hint: str
) -> DiskCopy:
    """Store all that ``command`` writes. Raises BackupError NF-BAK-061 with ``hint`` when it fails."""
    writer = await store.disk(MOST)
    size, why = 0, copy.why
    async with ctx.session.stream(command) as running:
        said = bytearray()
        async for piece in pieces(running, said):
            await order.pace.take(len(piece))
            await writer.data(size, piece)
            size += len(piece)
            ctx.progress(f"{copy.name}: {copy.mode}", size, size)
        status = await running.status()
    if status == CHANGED and copy.path:
        why = f"{why}; files changed while they were read"
    elif status:
        raise _unread(ctx, copy, said.decode("utf-8", "replace").strip(), hint)
    root, stored = await writer.finish(size)
    return replace(copy, size=size, root=root, why=why, bytes_read=size, bytes_stored=stored)


async def pieces(running: Any, said: bytearray) -> AsyncIterator[bytes]:
    """Standard output in pieces of 1 MiB; the end of what was said on standard error goes to ``said``."""
    held = bytearray()
    async for output in running:
        if output.stream == 1:
            held += output.data
        else:
            said += output.data
            del said[:-4096]
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)


async def given_back(ctx: ActionContext, source: BlockSource, copy: DiskCopy, command: Command, where: str) -> None:
    """Let ``command`` read all of an archive. Raises BackupError NF-BAK-063 when it fails; ``where`` has no room."""
    said = bytearray()
    async with ctx.session.stream(command, stdin=_content(ctx, source, copy)) as running:
        async for output in running:
            said += output.data
        status = await running.status()
    if status:
        raise BackupError(
            f"{copy.name} cannot be unpacked",
            code="NF-BAK-063",
            where=f"{ctx.host.name}:{where}",
            cause=said.decode("utf-8", "replace").strip()[-400:],
            hints=(f"df -h {where}   # on {ctx.host.name}",),
            retry=Retry.AFTER_FIX,
        )


async def _content(ctx: ActionContext, source: BlockSource, copy: DiskCopy) -> AsyncIterator[bytes]:
    async with aclosing(read_many(source, [Extent(0, source.size)])) as found:
        async for offset, data in found:
            yield data
            ctx.progress(f"{copy.name}: restore", offset + len(data), source.size)


def _unread(ctx: ActionContext, copy: DiskCopy, cause: str, hint: str) -> BackupError:
    return BackupError(
        f"{copy.name} cannot be read",
        code="NF-BAK-061",
        where=f"{ctx.host.name}:{copy.path}" if copy.path else ctx.host.name,
        cause=cause,
        hints=(hint,),
        retry=Retry.LATER,
    )
