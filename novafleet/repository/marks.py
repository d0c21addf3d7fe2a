"""What is needed, kept without a Python object per chunk: 17 bytes each, whatever the size of the repository."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable

KEPT = 16
"""Bytes of an id that tell chunks apart; two that agree in them keep each other alive, which does no harm."""
HALVES = struct.Struct(">QQ")
BUCKETS = 256
COMPACT_AT = 1 << 20
"""Bytes a bucket may grow by before repetitions are dropped."""


class Marks:
    """A set of chunk ids; after ``close`` each can be ticked off once."""

    def __init__(self) -> None:
        self._drafts = [bytearray() for _ in range(BUCKETS)]
        self._limits = [COMPACT_AT] * BUCKETS
        self._highs: list[array[int]] = []
        self._lows: list[array[int]] = []
        self._ticks: list[bytearray] = []

    def add(self, chunks: Iterable[bytes]) -> None:
        """These are needed."""
        for chunk in chunks:
            bucket = chunk[0]
            draft = self._drafts[bucket]
            draft += chunk[:KEPT]
            if len(draft) > self._limits[bucket]:
                draft[:] = _distinct(draft)
                self._limits[bucket] = len(draft) + COMPACT_AT

    def close(self) -> Marks:
        """Nothing is added any more."""
        for draft in self._drafts:
            pairs = list(HALVES.iter_unpack(_distinct(draft)))
            self._highs.append(array("Q", [high for high, _ in pairs]))
            self._lows.append(array("Q", [low for _, low in pairs]))
            self._ticks.append(bytearray(len(pairs)))
            draft.clear()
        self._drafts = []
        return self

    def __len__(self) -> int:
        return sum(map(len, self._ticks))

    def __contains__(self, chunk: bytes) -> bool:
        return self._place(chunk) >= 0

    def tick(self, chunk: bytes) -> bool:
        """True the first time for a chunk that is needed."""
        place = self._place(chunk)
        if place < 0 or self._ticks[chunk[0]][place]:
            return False
        self._ticks[chunk[0]][place] = 1
        return True

    def open(self, chunk: bytes) -> bool:
        """Needed, and not ticked off yet."""
        place = self._place(chunk)
        return place >= 0 and not self._ticks[chunk[0]][place]

    @property
    def missing(self) -> int:
        """How many were never ticked off."""
        return sum(each.count(0) for each in self._ticks)

    def _place(self, chunk: bytes) -> int:
        high, low = HALVES.unpack_from(chunk)
        highs, lows = self._highs[chunk[0]], self._lows[chunk[0]]
        place = bisect_left(highs, high)
        while place < len(highs) and highs[place] == high:
            if lows[place] == low:
                return place
            place += 1
        return -1


def _distinct(draft: bytes | bytearray) -> bytes:
    return b"".join(sorted({bytes(draft[at : at + KEPT]) for at in range(0, len(draft), KEPT)}))
