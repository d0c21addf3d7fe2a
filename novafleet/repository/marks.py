"""What is needed, counted without a Python object per chunk: 17 bytes each, whatever the size of the repository."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

KEPT = 16
"""Bytes of an id that tell chunks apart; two that agree in them keep each other alive, which does no harm."""
BUCKETS = 256
COMPACT_AT = 1 << 20
"""Bytes a bucket may grow by before repetitions are dropped."""


class Marks:
    """A set of chunk ids; after ``close`` each can be ticked off once."""

    def __init__(self) -> None:
        self._drafts = [bytearray() for _ in range(BUCKETS)]
        self._limits = [COMPACT_AT] * BUCKETS
        self._sorted: list[bytes] = []
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
        self._sorted = [_distinct(draft) for draft in self._drafts]
        self._drafts = []
        self._ticks = [bytearray(len(each) // KEPT) for each in self._sorted]
        return self

    def __len__(self) -> int:
        return sum(len(each) for each in self._sorted) // KEPT

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
        known, wanted = self._sorted[chunk[0]], chunk[:KEPT]
        place = bisect_left(
            range(len(known) // KEPT), wanted, key=lambda number: known[number * KEPT : (number + 1) * KEPT]
        )
        return place if known[place * KEPT : (place + 1) * KEPT] == wanted else -1


def _distinct(draft: bytes | bytearray) -> bytes:
    return b"".join(sorted({bytes(draft[at : at + KEPT]) for at in range(0, len(draft), KEPT)}))
