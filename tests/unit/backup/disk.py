"""A disk in memory with a dirty bitmap, as QEMU exports one."""

from __future__ import annotations

from collections.abc import Sequence

from novafleet.model.backup import Extent

GRANULARITY = 64 << 10
"""Of qcow2's clusters, and of its bitmaps."""


class MemoryDisk:
    """A ``ports.BlockSource``. ``clusters`` says which clusters are allocated; all others read as zero."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.allocated: set[int] = set()
        self.dirty: set[int] = set()
        self.reads: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    def write(self, offset: int, data: bytes) -> None:
        """As a guest does."""
        self.content[offset : offset + len(data)] = data
        self._touch(offset, len(data))
        self.allocated |= _clusters(offset, len(data))

    def discard(self, offset: int, length: int) -> None:
        """Whole clusters become holes, the edges are written zeroes."""
        self.content[offset : offset + length] = bytes(length)
        self._touch(offset, length)
        first, last = -(-offset // GRANULARITY), (offset + length) // GRANULARITY
        self.allocated |= _clusters(offset, length)
        self.allocated -= set(range(first, last))

    def grow(self, size: int) -> None:
        """A bitmap knows nothing of the new end."""
        self.content.extend(bytes(size - self.size))

    def checkpoint(self) -> None:
        """Forget what was dirty."""
        self.dirty.clear()

    def _touch(self, offset: int, length: int) -> None:
        self.dirty |= _clusters(offset, length)

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""
        self.reads.append((offset, length))
        return bytes(self.content[offset : offset + length])

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """Clusters, as they are."""
        found = []
        at = offset
        while at < offset + length:
            cluster = at // GRANULARITY
            end = min((cluster + 1) * GRANULARITY, offset + length)
            found.append(Extent(at, end - at, cluster not in self.allocated, cluster in self.dirty))
            at = end
        return found


def _clusters(offset: int, length: int) -> set[int]:
    return set(range(offset // GRANULARITY, -(-(offset + length) // GRANULARITY))) if length else set()
