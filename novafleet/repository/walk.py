"""Follows snapshots to every chunk they need; what it visits twice it reads once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from novafleet.errors import RepositoryError
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.repository.chunkmap import PAGE_CELLS, ZERO, Page, Root
from novafleet.repository.repository import Repository
from novafleet.repository.seal import Kind

AT_ONCE = 16
NOTHING = "its place in a pack is unknown"


@dataclass(frozen=True, slots=True)
class Lost:
    """A range of a disk, or a file (``disk`` is its name, ``offset`` 0), that cannot be restored; bytes of the disk.

    ``chunk`` (hexadecimal) is what is missing; empty when the snapshot object or its map is.
    """

    snapshot: str
    vm: str
    disk: str
    offset: int
    length: int
    why: str
    chunk: str = ""
    kind: Kind = Kind.DATA


Judge = Callable[[bytes, int], str]
"""Chunk id and the bytes of it that are needed -> what is wrong with it, empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A page: bytes of data it maps, and what is wrong in it (cell, start, length, chunk, why)."""

    mapped: int
    wrong: tuple[tuple[int, int, int, bytes, str], ...] = ()


class Walk:
    """Over snapshots of one repository. ``mapped`` counts bytes of data per snapshot."""

    def __init__(self, repository: Repository, judge: Judge) -> None:
        self._repository = repository
        self._judge = judge
        self._pages: dict[bytes, Weighed] = {}
        self.mapped: dict[str, int] = {}

    async def snapshot(self, snapshot: Snapshot) -> AsyncIterator[Lost]:
        """What of it is lost."""
        self.mapped[snapshot.id] = 0
        for name, blob in snapshot.files.items():
            why = self._judge(bytes.fromhex(blob.id), blob.size)
            if why:
                yield Lost(snapshot.id, snapshot.vm, name, 0, blob.size, why, blob.id, Kind.BLOB)
        for copy in snapshot.disks.values():
            async for lost in self.disk(snapshot, copy):
                yield lost

    async def disk(self, snapshot: Snapshot, copy: DiskCopy) -> AsyncIterator[Lost]:
        """What of one disk is lost."""
        try:
            root = await self._repository.root(copy)
        except RepositoryError as exc:
            yield Lost(snapshot.id, snapshot.vm, copy.name, 0, copy.size, str(exc), copy.root, Kind.ROOT)
            return
        numbers = iter(number for number, page in enumerate(root.pages) if page != ZERO)
        while batch := list(islice(numbers, AT_ONCE)):
            weighed = await asyncio.gather(*(self._page(root, number) for number in batch))
            for number, found in zip(batch, weighed, strict=True):
                if isinstance(found, RepositoryError):
                    length = min(root.span, root.size - number * root.span)
                    chunk = root.pages[number].hex()
                    yield Lost(
                        snapshot.id, snapshot.vm, copy.name, number * root.span, length, str(found), chunk, Kind.PAGE
                    )
                    continue
                self.mapped[snapshot.id] = self.mapped.get(snapshot.id, 0) + found.mapped
                for lost in _ranges(snapshot, copy, root, number, found):
                    yield lost

    async def _page(self, root: Root, number: int) -> Weighed | RepositoryError:
        chunk = root.pages[number]
        if chunk not in self._pages:
            try:
                page = await self._repository.page(chunk)
            except RepositoryError as exc:
                return exc
            self._pages[chunk] = await asyncio.to_thread(self._weigh, page)
        return self._pages[chunk]

    def _weigh(self, page: Page) -> Weighed:
        mapped, wrong = 0, []
        for cell in range(PAGE_CELLS):
            for span in page.cell(cell):
                mapped += span.length
                why = self._judge(span.chunk.id, span.skip + span.length)
                if why:
                    wrong.append((cell, span.start, span.length, span.chunk.id, why))
        return Weighed(mapped, tuple(wrong))


def _ranges(snapshot: Snapshot, copy: DiskCopy, root: Root, number: int, page: Weighed) -> Iterator[Lost]:
    for cell, start, length, chunk, why in page.wrong:
        at = number * root.span + cell * root.cell + start
        if at < root.size:
            yield Lost(snapshot.id, snapshot.vm, copy.name, at, min(length, root.size - at), why, chunk.hex())
