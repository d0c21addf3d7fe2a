"""What a disk holds, or what of it changed, written where it shall be: over what is there, and no more than differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing

from novafleet.model.backup import Extent
from novafleet.nbd.ahead import read_many, write_many
from novafleet.ports import BlockSource, BlockTarget

WINDOW = 1 << 30
"""Bytes whose extents are held at once."""
GRAIN = 64 << 10
"""What is equal in a block of that size is not written: an overlay stays as thin as the image it stands on lets it."""


class Thrifty:
    """A ``BlockTarget`` that leaves alone what is equal already. ``held`` is what of it is not zero, in order."""

    def __init__(self, target: BlockTarget, held: Sequence[Extent]) -> None:
        self._target, self._held = target, held

    @property
    def size(self) -> int:
        """Bytes."""
        return self._target.size

    async def read(self, offset: int, length: int) -> bytes:
        """As the target."""
        return await self._target.read(offset, length)

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """As the target."""
        return await self._target.extents(offset, length)

    async def zero(self, offset: int, length: int) -> None:
        """As the target."""
        await self._target.zero(offset, length)

    async def flush(self) -> None:
        """As the target."""
        await self._target.flush()

    async def write(self, offset: int, data: bytes) -> None:
        """What differs of it."""
        if not any(each.offset < offset + len(data) and offset < each.end for each in self._held):
            await self._target.write(offset, data)
            return
        for at, piece in unequal(offset, data, await self._target.read(offset, len(data))):
            await self._target.write(at, piece)


def unequal(offset: int, wanted: bytes, found: bytes) -> Iterator[tuple[int, bytes]]:
    """Runs of whole grains (the last may be shorter) in which two equally long pieces differ."""
    begin = None
    for at in range(0, len(wanted), GRAIN):
        if wanted[at : at + GRAIN] != found[at : at + GRAIN]:
            begin = at if begin is None else begin
        elif begin is not None:
            yield offset + begin, wanted[begin:at]
            begin = None
    if begin is not None:
        yield offset + begin, wanted[begin:]


def zeroes(source: Iterable[Extent], held: Iterable[Extent]) -> Iterator[Extent]:
    """Where the source is zero and the target is not."""
    holding = list(held)
    for each in source:
        for other in holding if each.zero else ():
            start, end = max(each.offset, other.offset), min(each.end, other.end)
            if start < end:
                yield Extent(start, end - start, zero=True)


async def pour(source: BlockSource, target: BlockTarget, tell: Callable[[int], None], *, changes: bool = False) -> int:
    """Make the target equal to the source, or with ``changes`` only where the source's bitmap says dirty; the bytes
    read. ``tell`` hears how many bytes more were."""
    done = 0
    for start in range(0, source.size, WINDOW):
        length = min(WINDOW, source.size - start)
        extents = [each for each in await source.extents(start, length) if each.dirty or not changes]
        if not extents:
            continue
        held = [each for each in await target.extents(start, length) if not each.zero]
        for each in zeroes(extents, held):
            await target.zero(each.offset, each.length)
        data = [each for each in extents if not each.zero]
        where = target if changes else Thrifty(target, held)
        async with aclosing(read_many(source, data)) as pieces, aclosing(write_many(where, pieces)) as written:
            async for count in written:
                done += count
                tell(count)
    await target.flush()
    return done
