"""A repository, opened: its snapshots, their disks and files, and the way to add one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from novafleet.model.backup import Blob, DiskCopy, Snapshot
from novafleet.ports import BlockSource, Clock, ObjectStore
from novafleet.repository.keys import KeySource
from novafleet.repository.writer import Backup

CELL = 1 << 20


class Repository:
    """Made by ``create`` or ``open``. It reads the store it was given; who gave it closes it."""

    id: str
    """32 hexadecimal digits, random."""
    store: ObjectStore
    cell: int
    """Bytes of the grid disks are cut along: 256 KiB to 4 MiB."""

    @classmethod
    async def create(cls, store: ObjectStore, key: KeySource, *, at: float, cell: int = CELL) -> Repository:
        """Make one in an empty store and open it. ``at`` dates its first key slot.

        Raises RepositoryError NF-REPO-003 when there is one.
        """
        raise NotImplementedError

    @classmethod
    async def open(cls, store: ObjectStore, key: KeySource) -> Repository:
        """Raises RepositoryError: NF-REPO-002 none there, -004 newer format, -005 wrong key, -006 damaged."""
        raise NotImplementedError

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """All of them, oldest first. Raises RepositoryError NF-REPO-013 for a damaged one."""
        raise NotImplementedError

    async def snapshot(self, name: str) -> Snapshot:
        """By id or unique beginning of one. Raises RepositoryError NF-REPO-008."""
        raise NotImplementedError

    async def disk(self, copy: DiskCopy) -> BlockSource:
        """A disk as it was. Reads may run at once; what they return was verified against its id."""
        raise NotImplementedError

    async def blob(self, blob: Blob) -> bytes:
        """A small file of a snapshot."""
        raise NotImplementedError

    @asynccontextmanager
    async def backup(self, clock: Clock) -> AsyncIterator[Backup]:
        """Write a snapshot: nothing of it can be seen before ``Backup.commit``. Holds a lease meanwhile."""
        raise NotImplementedError
        yield
