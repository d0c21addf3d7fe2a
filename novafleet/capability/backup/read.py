"""Reading one disk into a repository: what changed and holds data is read, what changed and is zero is said so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from novafleet.model.backup import Extent
from novafleet.nbd.ahead import read_many
from novafleet.ports import BlockSource, Clock
from novafleet.repository.diskwriter import DiskWriter
from novafleet.repository.walk import Lost
from novafleet.repository.writer import Backup

WINDOW = 1 << 30
"""Bytes whose extents are asked for at once: bounds memory on disks of any size."""
AHEAD = 16
"""MiB of one disk under way."""

Tell = Callable[[int, int], None]
Keep = Callable[[int], Awaitable[None]]


class Pace:
    """At most so many bytes a second, for all disks of a run together; 0 is unlimited."""

    def __init__(self, clock: Clock, bandwidth: int) -> None:
        self._clock = clock
        self._bandwidth = bandwidth
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may be read."""
        if not self._bandwidth:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self._bandwidth
        if begin > now:
            await self._clock.sleep(begin - now)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a disk is read. ``changes``: only what its bitmap calls dirty, and what lies behind ``before``, the size it
    had at the last backup. ``tell`` hears bytes passed over or read, and the disk's size. What lies before ``begin`` is
    stored already; ``keep`` may make durable what is read up to some byte."""

    pace: Pace
    tell: Tell
    changes: bool = False
    before: int = 0
    begin: int = 0
    keep: Keep | None = None


async def copy(source: BlockSource, size: int, writer: DiskWriter, reading: Reading) -> int:
    """Copy a disk; the bytes that were read. Raises what source and writer raise."""
    count = 0
    for start in range(reading.begin, size, WINDOW):
        length = min(WINDOW, size - start)
        extents = classified(await source.extents(start, length), reading)
        count += await _window(source, writer, extents, reading, size)
        reading.tell(start + length, size)
        if reading.keep is not None:
            await reading.keep(start + length)
    return count


async def read_again(store: Backup, source: BlockSource, writer: DiskWriter, lost: Iterable[Lost]) -> int:
    """Read what the last copy lost; the bytes of it. What is as it was heals every snapshot that needs it."""
    count = 0
    for each in lost:
        length = min(each.length, source.size - each.offset)
        if length <= 0:
            continue
        content = await source.read(each.offset, length)
        count += length
        if not await store.again(each.kind, each.chunk, content):
            await writer.data(each.offset, content)
    return count


def classified(extents: Iterable[Extent], reading: Reading) -> tuple[Extent, ...]:
    """Only what must be said of the disk: dirty extents, zero or not. A bitmap knows nothing of a grown disk's end."""
    if not reading.changes:
        return tuple(extents)
    return tuple(_dirty(extents, reading.before))


def _dirty(extents: Iterable[Extent], before: int) -> Iterator[Extent]:
    for each in extents:
        if each.dirty:
            yield each
        elif each.end > before:
            start = max(each.offset, before)
            yield Extent(start, each.end - start, each.zero)


async def _window(
    source: BlockSource, writer: DiskWriter, extents: tuple[Extent, ...], reading: Reading, size: int
) -> int:
    for each in extents:
        if each.zero:
            await writer.zero(each.offset, each.length)
    wanted = [each for each in extents if not each.zero]
    count = 0
    paced = Paced(source, reading.pace)
    pieces = await _widened(writer, wanted) if reading.changes else wanted
    async with aclosing(read_many(paced, pieces, AHEAD)) as data:
        async for offset, content in data:
            await writer.data(offset, content)
            count += len(content)
            reading.tell(offset + len(content), size)
            if reading.keep is not None and offset + len(content) < size:
                await reading.keep(offset + len(content))
    return count


async def _widened(writer: DiskWriter, extents: Iterable[Extent]) -> list[Extent]:
    """What to read instead, without reading anything twice in a row."""
    found: list[Extent] = []
    for each in extents:
        offset, length = await writer.widen(each.offset, each.length)
        while found and offset <= found[-1].end:  # a cell that is read whole takes in what was asked of it before
            last = found.pop()
            begin = min(last.offset, offset)
            offset, length = begin, max(last.end, offset + length) - begin
        found.append(Extent(offset, length))
    return found


@dataclass(frozen=True, slots=True)
class Paced:
    """A source that is read no faster than allowed."""

    source: BlockSource
    pace: Pace

    @property
    def size(self) -> int:
        """Bytes."""
        return self.source.size

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""
        await self.pace.take(length)
        return await self.source.read(offset, length)

    async def extents(self, offset: int, length: int) -> tuple[Extent, ...]:
        """What the range consists of."""
        return tuple(await self.source.extents(offset, length))
