"""A disk in a repository, read at any place."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from novafleet.model.backup import Extent
from novafleet.repository.chunkmap import PAGE_CELLS, ZERO, Page, Root, Span
from novafleet.repository.seal import Kind, damaged

T = TypeVar("T")
CACHE = 32 << 20
"""Bytes of decoded chunks kept."""
PAGES = 64
"""Pages kept: 64 GiB of disk."""
AT_ONCE = 16

ChunkOf = Callable[[Kind, bytes], Awaitable[bytes]]


class DiskSource:
    """A ``ports.BlockSource``. Made by ``Repository.disk``."""

    def __init__(self, root: Root, chunk_of: ChunkOf, where: str) -> None:
        self._root = root
        self._chunk_of = chunk_of
        self._where = where
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._chunks: OrderedDict[bytes, asyncio.Task[bytes]] = OrderedDict()
        self._held = 0
        self._pages: OrderedDict[int, asyncio.Task[Page]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._root.size

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes. Raises RepositoryError NF-REPO-010, NF-REPO-011."""
        self._within(offset, length)
        parts = [part async for part in self._parts(offset, length)]
        chunks = await asyncio.gather(*(self._chunk(span.chunk.id) for _, span in parts))
        if len(parts) == 1 and (parts[0][1].length, len(chunks[0])) == (length, length):
            return chunks[0]
        content = bytearray(length)
        for (at, span), chunk in zip(parts, chunks, strict=True):
            if len(chunk) < span.skip + span.length:
                raise damaged(self._where, f"chunk {span.chunk.id.hex()} is shorter than the map says")
            content[at : at + span.length] = chunk[span.skip : span.skip + span.length]
        return bytes(content)

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """Runs of data and zeroes: in order, without gaps, clipped to the range."""
        self._within(offset, length)
        found: list[Extent] = []
        at = offset
        async for start, span in self._parts(offset, length):
            _append(found, at, offset + start, zero=True)
            _append(found, offset + start, offset + start + span.length, zero=False)
            at = offset + start + span.length
        _append(found, at, offset + length, zero=True)
        return found

    def _within(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} are not within a disk of {self.size}")

    async def _parts(self, offset: int, length: int) -> AsyncIterator[tuple[int, Span]]:
        """Spans within a range, clipped to it, each with its place in the range."""
        at = offset
        while at < offset + length:
            number = at // self._root.span
            behind = min((number + 1) * self._root.span, offset + length)
            if self._root.page(number) != ZERO:
                page = await self._page(number)
                for place, span in _spans(page, number, self._root.cell, at, behind):
                    yield place - offset, span
            at = behind

    async def _page(self, number: int) -> Page:
        task = self._pages.get(number)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._pages[number] = _looked_after(self._load_page(self._root.page(number)))
            if len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        self._pages.move_to_end(number)
        return await asyncio.shield(task)

    async def _load_page(self, chunk: bytes) -> Page:
        return Page(await self._chunk_of(Kind.PAGE, chunk), self._where)

    async def _chunk(self, chunk: bytes) -> bytes:
        task = self._chunks.get(chunk)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._chunks[chunk] = _looked_after(self._load(chunk))
        self._chunks.move_to_end(chunk)
        return await asyncio.shield(task)

    async def _load(self, chunk: bytes) -> bytes:
        async with self._slots:
            content = await self._chunk_of(Kind.DATA, chunk)
        self._held += len(content)
        while self._held > CACHE:
            oldest = next((key for key, task in self._chunks.items() if task.done()), None)
            if oldest is None:
                break
            task = self._chunks.pop(oldest)
            self._held -= 0 if task.cancelled() or task.exception() else len(task.result())
        return content


def _looked_after(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that several wait for, and that may fail when none of them does any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


def _spans(page: Page, number: int, cell: int, at: int, behind: int) -> Iterator[tuple[int, Span]]:
    first = number * PAGE_CELLS
    for each in range(at // cell, -(-behind // cell)):
        for span in page.cell(each - first):
            start, end = each * cell + span.start, each * cell + span.end
            cut, stop = max(start, at), min(end, behind)
            if cut < stop:
                yield cut, Span(0, stop - cut, span.skip + cut - start, span.chunk)


def _append(found: list[Extent], start: int, end: int, *, zero: bool) -> None:
    if start >= end:
        return
    if found and found[-1].zero is zero:
        start = found.pop().offset
    found.append(Extent(start, end - start, zero=zero))
