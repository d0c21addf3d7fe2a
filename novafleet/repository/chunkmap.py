"""The map of a disk: which chunk holds which of its bytes.

A **cell** is one step of the repository's grid (1 MiB). A **span** puts a part of a chunk at a place in a cell; what no
span covers is zero. A **page** is 1,024 cells, a **root** the list of pages. Pages and roots are chunks themselves:
pages that did not change are shared between snapshots.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from novafleet.repository.seal import NO_ID, damaged

PAGE_CELLS = 1024
ALIGN = 64 << 10
"""Ranges are widened to this."""
ZERO = NO_ID
"""In place of an id: nothing but zeroes."""
COUNT = struct.Struct("<H")
SPAN = struct.Struct("<III32s")
"""Place in the cell, length, place in the chunk, chunk id."""
ROOT = struct.Struct("<QII")
"""Disk size, cell size, number of pages; then one id a page."""
COUNTS = PAGE_CELLS * COUNT.size


class Chunk:
    """A chunk whose id may not be known yet: it is set when its content has been hashed."""

    __slots__ = ("id",)

    def __init__(self, chunk: bytes = b"") -> None:
        self.id = chunk


class Span(NamedTuple):
    """``length`` bytes at ``start`` in a cell are those at ``skip`` in the chunk."""

    start: int
    length: int
    skip: int
    chunk: Chunk

    @property
    def end(self) -> int:
        """The first byte behind it, in the cell."""
        return self.start + self.length


Cell = Sequence[Span]


class Page:
    """A page as it is stored, decoded cell by cell when asked."""

    def __init__(self, content: bytes, where: str) -> None:
        """Raises RepositoryError NF-REPO-010 when it is none."""
        self._content = content
        counts = [count for (count,) in COUNT.iter_unpack(content[:COUNTS])]
        self._firsts = [0, *accumulate(counts)]
        if len(counts) != PAGE_CELLS or COUNTS + self._firsts[-1] * SPAN.size != len(content):
            raise damaged(where, "a page of the map is of the wrong size")

    def cell(self, number: int) -> Cell:
        """The spans of one cell, in order."""
        rows = SPAN.iter_unpack(self.rows(number))
        return [Span(start, length, skip, Chunk(chunk)) for start, length, skip, chunk in rows]

    def rows(self, number: int) -> bytes:
        """The same as it is stored."""
        first, last = self._firsts[number : number + 2]
        return self._content[COUNTS + first * SPAN.size : COUNTS + last * SPAN.size]

    def chunks(self) -> Iterator[bytes]:
        """The ids of all chunks it needs, with repetitions."""
        for *_, chunk in SPAN.iter_unpack(self._content[COUNTS:]):
            yield chunk


class PageDraft:
    """A page being changed: the parent's, and the cells that differ."""

    def __init__(self, parent: Page | None = None) -> None:
        self._parent = parent
        self._cells: dict[int, Cell] = {}

    def cell(self, number: int) -> Cell:
        """The spans of one cell as of now."""
        if number in self._cells:
            return self._cells[number]
        return self._parent.cell(number) if self._parent else ()

    def overlay(self, number: int, start: int, end: int, chunk: Chunk | None) -> None:
        """Bytes ``start`` to ``end`` of a cell are those of a chunk, or zero, whatever was there."""
        spans = list(without(self.cell(number), start, end))
        if chunk is not None:
            spans.append(Span(start, end - start, 0, chunk))
        self._cells[number] = sorted(spans, key=lambda span: span.start)

    @property
    def ready(self) -> bool:
        """All chunks have their ids."""
        return all(span.chunk.id for cell in self._cells.values() for span in cell)

    def encode(self) -> bytes:
        """The page; empty when it is all zero. Only once ``ready``."""
        cells = [self._rows(number) for number in range(PAGE_CELLS)]
        if not any(cells):
            return b""
        return b"".join(COUNT.pack(len(rows) // SPAN.size) for rows in cells) + b"".join(cells)

    def _rows(self, number: int) -> bytes:
        if number not in self._cells:
            return self._parent.rows(number) if self._parent else b""
        spans = [span for span in self._cells[number] if span.chunk.id != ZERO]
        return b"".join(SPAN.pack(span.start, span.length, span.skip, span.chunk.id) for span in spans)


def without(cell: Cell, start: int, end: int) -> Iterator[Span]:
    """The spans of a cell outside a range of it."""
    for span in cell:
        if span.start < start:
            yield span._replace(length=min(span.end, start) - span.start)
        if span.end > end:
            cut = max(0, end - span.start)
            yield Span(span.start + cut, span.length - cut, span.skip + cut, span.chunk)


@dataclass(frozen=True, slots=True)
class Root:
    """A disk: its size, its grid, and the ids of its pages (``ZERO`` for one of nothing but zeroes)."""

    size: int
    cell: int
    pages: tuple[bytes, ...]

    @property
    def span(self) -> int:
        """Bytes of a page."""
        return self.cell * PAGE_CELLS

    def page(self, number: int) -> bytes:
        """The id of a page; ``ZERO`` behind the end too."""
        return self.pages[number] if number < len(self.pages) else ZERO


def encode_root(root: Root) -> bytes:
    """The root as it is stored."""
    return ROOT.pack(root.size, root.cell, len(root.pages)) + b"".join(root.pages)


def decode_root(content: bytes, where: str) -> Root:
    """Raises RepositoryError NF-REPO-010 when it is none."""
    if len(content) < ROOT.size:
        raise damaged(where, "the root of a map is cut short")
    size, cell, count = ROOT.unpack_from(content)
    wanted = -(-size // (cell * PAGE_CELLS)) if cell else -1
    if count != wanted or len(content) != ROOT.size + 32 * count:
        raise damaged(where, "the root of a map does not fit its disk")
    return Root(size, cell, tuple(content[at : at + 32] for at in range(ROOT.size, len(content), 32)))


def page_ids(size: int, cell: int, changed: Mapping[int, bytes], parent: Root | None) -> tuple[bytes, ...]:
    """The pages of a disk: those that changed, for the rest the parent's."""
    count = -(-size // (cell * PAGE_CELLS))
    return tuple(changed.get(number, parent.page(number) if parent else ZERO) for number in range(count))
