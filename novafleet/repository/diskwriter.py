"""One disk of a snapshot being written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from novafleet.repository.chunkmap import (
    ALIGN,
    PAGE_CELLS,
    ZERO,
    Cell,
    Chunk,
    Page,
    PageDraft,
    Root,
    encode_root,
    page_ids,
    without,
)
from novafleet.repository.pipeline import Pipeline
from novafleet.repository.seal import Kind

MOST_PIECES = 8
"""Chunks a cell may be made of before it is read whole: bounds what a restore must fetch for it."""
DRAFTS = 64
"""Pages kept open."""
RUNS = 16
"""Cells kept open for a neighbour that completes them."""

PageOf = Callable[[bytes], Awaitable[Page]]


@dataclass(slots=True)
class Run:
    """Content of one cell that is still growing at its end."""

    start: int
    end: int
    parts: list[bytes] = field(default_factory=list)


class DiskWriter:
    """Made by ``Backup.disk``. The later of two calls about a range wins; calls may come in any order of offsets
    (ascending is cheapest) and several may be under way at once."""

    def __init__(self, pipeline: Pipeline, page_of: PageOf, size: int, cell: int, parent: Root | None) -> None:
        self.stored = 0
        """Bytes this disk added to the repository so far, after compression."""
        self._pipeline = pipeline
        self._page_of = page_of
        self._size = size
        self._cell = cell
        self._parent = parent
        self._lock = asyncio.Lock()
        self._runs: dict[int, Run] = {}
        self._drafts: dict[int, PageDraft] = {}
        self._pages: dict[int, Chunk] = {}
        self._wide: dict[int, int] = {}

    async def data(self, offset: int, data: bytes) -> None:
        """Content of a range (zeroes in it are found). Returns when accepted; waits while too much is under way."""
        self._within(offset, len(data))
        async with self._lock:
            for number, start, end in self._cells(offset, len(data)):
                at = number * self._cell + start - offset
                await self._extend(number, start, bytes(data[at : at + end - start]))

    async def zero(self, offset: int, length: int) -> None:
        """A range reads as zeroes from here on, whatever the parent says."""
        self._within(offset, length)
        async with self._lock:
            await self._zero(offset, min(offset + length, self._size))

    async def widen(self, offset: int, length: int) -> tuple[int, int]:
        """The range to read instead of a dirty one: aligned to 64 KiB, and to a whole cell at an end where at least
        half of the cell is dirty or it would be made of more than 8 chunks, with what was asked for before (ascending).
        Clipped to the disk."""
        self._within(offset, length)
        first, end = offset - offset % ALIGN, -(-(offset + length) // ALIGN) * ALIGN
        async with self._lock:
            if await self._whole(first // self._cell, first, end):
                first -= first % self._cell
            if await self._whole((end - 1) // self._cell, first, end):
                end = -(-end // self._cell) * self._cell
        return first, min(end, self._size) - first

    async def finish(self, size: int) -> tuple[str, int]:
        """End the disk at ``size`` bytes (what lies behind is dropped): its root for ``DiskCopy.root``, and
        the bytes it added to the repository."""
        async with self._lock:
            await self._cut(size)
            root = await self._map(size)
        return root, self.stored

    async def keep(self) -> str:
        """Make what was written so far durable, and go on: the root of the disk as it is now."""
        async with self._lock:
            root = await self._map(self._size)
            await self._pipeline.flush()
        return root

    async def _map(self, size: int) -> str:
        for number in list(self._runs):
            await self._close_run(number)
        for number in list(self._drafts):
            await self._close_page(number)
        await self._pipeline.settle()
        changed = {number: chunk.id for number, chunk in self._pages.items()}
        root = Root(size, self._cell, page_ids(size, self._cell, changed, self._parent))
        chunk = await self._pipeline.put(Kind.ROOT, encode_root(root), self._added)
        await self._pipeline.settle()
        return chunk.id.hex()

    def _added(self, size: int) -> None:
        self.stored += size

    def _within(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"{length} bytes at {offset} are not within a disk of {self._size}")

    def _cells(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Cell, first byte and end in it, for each cell of a range."""
        at, behind = offset, offset + length
        while at < behind:
            number, start = divmod(at, self._cell)
            end = min(self._cell, start + behind - at)
            yield number, start, end
            at += end - start

    async def _extend(self, number: int, start: int, content: bytes) -> None:
        run = self._runs.get(number)
        if run is not None and run.end != start:
            await self._close_run(number)
            run = None
        if run is None:
            run = self._runs[number] = Run(start, start)
        run.parts.append(content)
        run.end += len(content)
        if run.end == self._cell:
            await self._close_run(number)
        elif len(self._runs) > RUNS:
            await self._close_run(next(iter(self._runs)))

    async def _close_run(self, number: int) -> None:
        run = self._runs.pop(number)
        content = run.parts[0] if len(run.parts) == 1 else b"".join(run.parts)
        chunk = await self._pipeline.put(Kind.DATA, content, self._added)
        (await self._draft(number // PAGE_CELLS)).overlay(number % PAGE_CELLS, run.start, run.end, chunk)

    async def _zero(self, offset: int, behind: int) -> None:
        span = self._cell * PAGE_CELLS
        for number in [each for each in self._runs if offset < (each + 1) * self._cell and each * self._cell < behind]:
            await self._close_run(number)
        while offset < behind:
            page, start = divmod(offset, span)
            end = min((page + 1) * span, behind)
            if not start and (end == (page + 1) * span or end >= self._size):
                self._drafts.pop(page, None)
                self._pages[page] = Chunk(ZERO)
            else:
                draft = await self._draft(page)
                for cell, first, last in self._cells(offset, end - offset):
                    draft.overlay(cell % PAGE_CELLS, first, last, None)
            offset = end

    async def _cut(self, size: int) -> None:
        """Nothing lies behind the end: a disk that grows again must not show what was there."""
        held = max(self._size, self._parent.size if self._parent else 0)
        span = self._cell * PAGE_CELLS
        self._size = held
        await self._zero(size, min(held, -(-size // span) * span))
        self._runs = {number: run for number, run in self._runs.items() if number * self._cell < size}
        self._drafts = {number: draft for number, draft in self._drafts.items() if number * span < size}
        self._size = size

    async def _whole(self, number: int, first: int, end: int) -> bool:
        """Shall a cell be read whole, of which this and what was widened before is read?"""
        start, blocks = number * self._cell, self._cell // ALIGN
        low, high = max(0, (first - start) // ALIGN), min(blocks, (end - start) // ALIGN)
        dirty = self._wide.pop(number, 0) | ((1 << high) - (1 << low))
        self._wide[number] = dirty
        if len(self._wide) > RUNS:
            self._wide.pop(next(iter(self._wide)))
        if dirty.bit_count() * 2 >= blocks:
            return True
        draft = await self._draft(number // PAGE_CELLS)
        return pieces(draft.cell(number % PAGE_CELLS), dirty) > MOST_PIECES

    async def _draft(self, number: int) -> PageDraft:
        """The page to change, opened from what it is so far."""
        draft = self._drafts.pop(number, None) or await self._opened(number)
        self._drafts[number] = draft
        if len(self._drafts) > DRAFTS:
            await self._close_page(next(iter(self._drafts)))
        return draft

    async def _opened(self, number: int) -> PageDraft:
        chunk = self._pages.get(number) or Chunk(self._parent.page(number) if self._parent else ZERO)
        if not chunk.id or (number in self._pages and chunk.id != ZERO):
            await self._pipeline.flush()
        return PageDraft() if chunk.id == ZERO else PageDraft(await self._page_of(chunk.id))

    async def _close_page(self, number: int) -> None:
        draft = self._drafts.pop(number)
        if not draft.ready:
            await self._pipeline.settle()
        content = draft.encode()
        self._pages[number] = await self._pipeline.put(Kind.PAGE, content, self._added) if content else Chunk(ZERO)


def pieces(cell: Cell, dirty: int) -> int:
    """Of how many chunks a cell is made once its dirty blocks (bits, the first is the lowest) are new ones."""
    runs = [(start * ALIGN, end * ALIGN) for start, end in _runs(dirty)]
    for start, end in runs:
        cell = tuple(without(cell, start, end))
    return len({span.chunk.id or id(span.chunk) for span in cell}) + len(runs)


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    at = 0
    while bits >> at:
        at += ((bits >> at) & -(bits >> at)).bit_length() - 1
        start = at
        at += (~(bits >> at) & -~(bits >> at)).bit_length() - 1
        yield start, at
