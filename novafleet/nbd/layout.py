"""What a served disk consists of, remembered where it cannot change: QEMU asks about it a few bytes at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from novafleet.model.backup import Extent
from novafleet.nbd.extents import join
from novafleet.ports import BlockSource

WINDOW = 1024**3
"""Bytes whose extents are asked for, joined and kept at once."""


class Layout:
    """Extents of a source. ``fixed``: it does not change, so the last window stays true."""

    def __init__(self, source: BlockSource, *, fixed: bool) -> None:
        self._source = source
        self._fixed = fixed
        self._window = -1
        self._extents: Sequence[Extent] = ()

    async def extents(self, offset: int, length: int) -> list[Extent]:
        """What the range begins with: in order, without gaps, clipped to it and to the end of a window."""
        if not self._fixed:
            return list(join(iter(await self._source.extents(offset, length))))
        known = await self._known(offset // WINDOW)
        first = bisect_right(known, offset, key=lambda extent: extent.end)
        found = []
        for extent in known[first:]:
            start, end = max(extent.offset, offset), min(extent.end, offset + length)
            if start >= end:
                break
            found.append(Extent(start, end - start, extent.zero))
        return found

    async def _known(self, window: int) -> Sequence[Extent]:
        if window != self._window:
            start = window * WINDOW
            found = await self._source.extents(start, min(WINDOW, self._source.size - start))
            self._extents, self._window = list(join(iter(found))), window
        return self._extents
