"""Writing a snapshot: chunks into packs, packs into the store, then index, then the snapshot object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from novafleet.errors import RepositoryError
from novafleet.model.backup import Blob, DiskCopy, Snapshot
from novafleet.repository import catalogue
from novafleet.repository.chunkmap import ZERO, Page, Root
from novafleet.repository.diskwriter import DiskWriter
from novafleet.repository.index import Index
from novafleet.repository.lease import Lease
from novafleet.repository.pipeline import Pipeline
from novafleet.repository.seal import Keyring, Kind

RootOf = Callable[[DiskCopy], Awaitable[Root]]
PageOf = Callable[[bytes], Awaitable[Page]]


class Backup:
    """One run that adds at most one snapshot; made by ``Repository.backup``."""

    def __init__(
        self,
        pipeline: Pipeline,
        lease: Lease,
        keyring: Keyring,
        cell: int,
        root_of: RootOf,
        page_of: PageOf,
        table: Index,
    ) -> None:
        self._pipeline = pipeline
        self._lease = lease
        self._keyring = keyring
        self._cell = cell
        self._root_of = root_of
        self._page_of = page_of
        self._table = table
        self._inherits = False

    @property
    def id(self) -> str:
        """What the snapshot will be called."""
        return self._lease.snapshot

    @property
    def stored(self) -> int:
        """Bytes given to the store so far."""
        return self._pipeline.stored

    async def disk(self, size: int, parent: DiskCopy | None = None) -> DiskWriter:
        """Begin a disk of ``size`` bytes; what is not written is as in ``parent`` (zeroes without one)."""
        self._inherits = self._inherits or parent is not None
        root = await self._root_of(parent) if parent else None
        if root is not None and root.cell != self._cell:
            raise ValueError("the parent is of another repository")
        return DiskWriter(self._pipeline, self._page_of, size, self._cell, root)

    async def resume(self, copy: DiskCopy, parent: DiskCopy | None = None) -> DiskWriter | None:
        """Go on with a disk whose map is kept but named by no snapshot (``DiskWriter.keep`` of a run that ended): the
        writer of the disk as ``copy`` is. None when a collection might take any of it away, or it is damaged."""
        try:
            kept, before = await self._root_of(copy), await self._root_of(parent) if parent else None
            if not await self._stays(kept, before):
                return None
        except RepositoryError:
            return None
        self._inherits = self._inherits or parent is not None
        return DiskWriter(self._pipeline, self._page_of, copy.size, self._cell, kept)

    async def _stays(self, kept: Root, before: Root | None) -> bool:
        """Is all that ``before`` does not have in packs that nobody has condemned? What is condemned later waits for
        our lease, and is spared for our snapshot."""
        for number, page in enumerate(kept.pages):
            if page == ZERO or (before is not None and page == before.page(number)):
                continue
            if not self._uncondemned(page):
                return False
            old = await self._page_of(before.page(number)) if before and before.page(number) != ZERO else None
            known = frozenset(old.chunks()) if old else frozenset()
            if not all(map(self._uncondemned, {*(await self._page_of(page)).chunks()} - known - {ZERO})):
                return False
        return True

    def _uncondemned(self, chunk: bytes) -> bool:
        return any(found.pack not in self._lease.condemned for found in self._table.locations(chunk))

    async def blob(self, content: bytes) -> Blob:
        """Store a small file (whole in memory)."""
        chunk = await self._pipeline.put(Kind.BLOB, content, lambda _: None)
        await self._pipeline.settle()
        return Blob(chunk.id.hex(), len(content))

    async def again(self, kind: Kind, chunk: str, content: bytes) -> bool:
        """Store a lost chunk (``chunk`` is its id, hexadecimal) when this is its content: then every snapshot that
        needs it is whole again."""
        if self._keyring.chunk_id(kind, content).hex() != chunk:
            return False
        await self._pipeline.put(kind, content, lambda _: None)
        return True

    async def flush(self) -> None:
        """Make everything durable that was written so far; nothing of it can be seen yet."""
        await self._pipeline.flush()

    async def commit(self, snapshot: Snapshot) -> Snapshot:
        """Make everything durable and the snapshot visible, in that order. Its ``id`` becomes ours; its ``parent``
        is the snapshot every parent given to ``disk`` belongs to.

        Raises StoreError, SpaceError, FencedError, RepositoryError; then there is no snapshot, only garbage for the
        next collection.
        """
        if self._inherits and not snapshot.parent:
            raise ValueError("a snapshot with a disk that inherits names its parent")
        await self._pipeline.flush()
        committed = replace(snapshot, id=self.id)
        await self._lease.commit(catalogue.seal(committed, self._keyring), parent=snapshot.parent)
        return committed
