"""A disk out of a repository, written where it shall be: only what is data, many requests at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from novafleet.nbd.ahead import read_many, write_many
from novafleet.ports import BlockSource, BlockTarget

WINDOW = 1 << 30
"""Bytes whose extents are held at once."""


async def content(source: BlockSource) -> int:
    """How many bytes of a disk are data."""
    total = 0
    for start in range(0, source.size, WINDOW):
        extents = await source.extents(start, min(WINDOW, source.size - start))
        total += sum(extent.length for extent in extents if not extent.zero)
    return total


async def pour(source: BlockSource, target: BlockTarget, tell: Callable[[int], None]) -> int:
    """Write all data of ``source`` to a target that reads as zeroes, and make it durable; the bytes written.

    ``tell`` hears how many bytes more are written.
    """
    done = 0
    for start in range(0, source.size, WINDOW):
        extents = await source.extents(start, min(WINDOW, source.size - start))
        data = [extent for extent in extents if not extent.zero]
        async with aclosing(read_many(source, data)) as pieces, aclosing(write_many(target, pieces)) as written:
            async for count in written:
                done += count
                tell(count)
    await target.flush()
    return done
