"""One disk of a snapshot being written."""

from __future__ import annotations


class DiskWriter:
    """Made by ``Backup.disk``. The later of two calls about a range wins; calls may come in any order of offsets
    (ascending is cheapest) and several may be under way at once."""

    @property
    def stored(self) -> int:
        """Bytes this disk added to the repository so far, after compression."""
        raise NotImplementedError

    async def data(self, offset: int, data: bytes) -> None:
        """Content of a range (zeroes in it are found). Returns when accepted; waits while too much is under way."""
        raise NotImplementedError

    async def zero(self, offset: int, length: int) -> None:
        """A range reads as zeroes from here on, whatever the parent says."""
        raise NotImplementedError

    async def widen(self, offset: int, length: int) -> tuple[int, int]:
        """The range to read instead of a dirty one: aligned to 64 KiB, and to a whole cell at an end where at least
        half of the cell is dirty or it would consist of more than 8 pieces. Clipped to the disk."""
        raise NotImplementedError

    async def finish(self, size: int) -> tuple[str, int]:
        """End the disk at ``size`` bytes (what lies behind is dropped): its root for ``DiskCopy.root``, and
        the bytes it added to the repository."""
        raise NotImplementedError
