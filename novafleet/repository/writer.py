"""Writing a snapshot: chunks into packs, packs into the store, then index, then the snapshot object."""

from __future__ import annotations

from novafleet.model.backup import Blob, DiskCopy, Snapshot
from novafleet.repository.diskwriter import DiskWriter


class Backup:
    """One run that adds at most one snapshot; made by ``Repository.backup``."""

    @property
    def stored(self) -> int:
        """Bytes given to the store so far."""
        raise NotImplementedError

    async def disk(self, size: int, parent: DiskCopy | None = None) -> DiskWriter:
        """Begin a disk of ``size`` bytes; what is not written is as in ``parent`` (zeroes without one)."""
        raise NotImplementedError

    async def blob(self, content: bytes) -> Blob:
        """Store a small file (whole in memory)."""
        raise NotImplementedError

    async def commit(self, snapshot: Snapshot) -> Snapshot:
        """Make everything durable and the snapshot visible, in that order. An empty ``id`` is filled from ``at``.

        Raises StoreError, SpaceError, FencedError; then there is no snapshot, only garbage for the next collection.
        """
        raise NotImplementedError
