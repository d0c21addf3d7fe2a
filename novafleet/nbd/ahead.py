"""Many reads and writes under way: answers come in the order of the disk, and memory is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator

from novafleet.model.backup import Extent
from novafleet.ports import BlockSource, BlockTarget

DEPTH = 16
STEP = 1024 * 1024
SMALLER = 16
"""What changed on a disk lies about in pieces of 64 KiB: as many as a step holds keep a long line as busy."""


async def read_many(
    source: BlockSource, extents: Iterable[Extent], depth: int = DEPTH, step: int = STEP
) -> AsyncGenerator[tuple[int, bytes], None]:
    """``(offset, bytes)`` of all extents, in their order, in pieces that end at multiples of ``step``.

    At most ``depth`` steps' worth of bytes is read or held at once, in at most ``SMALLER`` times as many pieces. Close
    the iterator (``contextlib.aclosing``) when you leave it early; reads under way are then cancelled.
    """
    ahead: deque[tuple[int, int, asyncio.Task[bytes]]] = deque()
    held = 0
    try:
        for offset, length in _pieces(extents, step):
            while ahead and (held + length > depth * step or len(ahead) == SMALLER * depth):
                at, count, task = ahead.popleft()
                yield at, await task
                held -= count
            ahead.append((offset, length, asyncio.create_task(source.read(offset, length))))
            held += length
        while ahead:
            at, _, task = ahead.popleft()
            yield at, await task
    finally:
        for _, _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in ahead), return_exceptions=True)


async def write_many(
    target: BlockTarget, pieces: AsyncIterator[tuple[int, bytes]], depth: int = DEPTH
) -> AsyncGenerator[int, None]:
    """Write what ``read_many`` yields; the bytes of each piece, once it is written. At most ``depth`` are under way."""
    behind: deque[asyncio.Task[int]] = deque()
    try:
        async for offset, data in pieces:
            if len(behind) == depth:
                yield await behind.popleft()
            behind.append(asyncio.create_task(_write(target, offset, data)))
        while behind:
            yield await behind.popleft()
    finally:
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)


async def _write(target: BlockTarget, offset: int, data: bytes) -> int:
    await target.write(offset, data)
    return len(data)


def _pieces(extents: Iterable[Extent], step: int) -> Iterator[tuple[int, int]]:
    for extent in extents:
        at = extent.offset
        while at < extent.end:
            end = min(extent.end, at - at % step + step)
            yield at, end - at
            at = end
