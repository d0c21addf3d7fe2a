"""What garbage collection sees of a repository whose key we hold (``gc.Contents``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.model.backup import Snapshot
from novafleet.repository import index, pack
from novafleet.repository.chunkmap import ZERO
from novafleet.repository.index import Index, Packed
from novafleet.repository.lease import SEAL, Lease
from novafleet.repository.pipeline import SEGMENT, Pipeline
from novafleet.repository.repository import Repository
from novafleet.repository.seal import Keyring

AT_ONCE = 16


class RepositoryContents:
    """Reads each page of a map once, however many snapshots share it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._pages: set[bytes] = set()

    async def references(self, key: str) -> AsyncIterator[Iterable[bytes]]:
        """Blobs, roots, pages and chunks of the snapshot object at ``key`` (below ``snapshots/`` or ``trash/``)."""
        snapshot = await self._repository.read_snapshot(key.split("/")[1], key)
        yield [bytes.fromhex(each.id) for each in snapshot.files.values()]
        async for batch in self._maps(snapshot):
            yield batch

    async def _maps(self, snapshot: Snapshot) -> AsyncIterator[Iterable[bytes]]:
        for copy in snapshot.disks.values():
            root = await self._repository.root(copy)
            yield [bytes.fromhex(copy.root)]
            fresh = iter({page: None for page in root.pages if page != ZERO and page not in self._pages})
            while pages := list(islice(fresh, AT_ONCE)):
                for page, found in zip(
                    pages, await asyncio.gather(*(self._repository.page(each) for each in pages)), strict=True
                ):
                    yield [page]
                    yield (chunk for chunk in found.chunks() if chunk != ZERO)
                self._pages.update(pages)

    async def segments(self, *, skip_damaged: bool = False) -> AsyncIterator[tuple[str, Sequence[Packed]]]:
        """Every index object, newest first. Raises RepositoryError NF-REPO-010 for a damaged one; ``skip_damaged``
        leaves those out instead."""
        store, keyring = self._repository.store, self._repository.keyring
        keys = [each.key async for each in store.list(index.PREFIX) if each.size != len(SEAL)]
        for key in sorted(keys, reverse=True):
            try:
                sealed = await store.get(key)
            except MissingObjectError:
                continue  # written anew by another collector meanwhile
            try:
                packs = await asyncio.to_thread(read_segment, sealed, keyring, f"{store.url}: {key}")
            except RepositoryError:
                if skip_damaged:
                    continue
                raise
            yield key, packs

    async def packed(self, name: str) -> Packed:
        """From the pack's own tables."""
        salt, entries = await pack.entries(self._repository.store, self._repository.keyring, name)
        return Packed(name, salt, entries)

    async def publish(self, lease: Lease, packs: Sequence[Packed]) -> None:
        """In index objects of bounded size."""
        for part in parts(packs):
            await lease.publish(await asyncio.to_thread(index.encode, part, self._repository.keyring))

    async def repack(self, lease: Lease, needed: Mapping[str, Sequence[bytes]]) -> int:
        """Decode, verify and store again."""
        if not needed:
            return 0
        table = await self._repository.index()
        pipeline = Pipeline(self._repository.store, self._repository.keyring, Index(), lease)
        try:
            for name, chunks in needed.items():
                for chunk in chunks:
                    at = next(each for each in table.locations(chunk) if each.pack == name)
                    content = await self._repository.chunk(at.kind, chunk)
                    await pipeline.put(at.kind, content, lambda _: None)
            await pipeline.flush()
        finally:
            await pipeline.close()
        return pipeline.stored


def read_segment(sealed: bytes, keyring: Keyring, where: str) -> list[Packed]:
    """The packs an index object lists. Raises RepositoryError NF-REPO-010."""
    return list(index.packed(*index.unseal(sealed, keyring, where)))


def parts(packs: Iterable[Packed]) -> Iterable[list[Packed]]:
    """Packs in groups of about as many entries as one index object should have."""
    part: list[Packed] = []
    for each in packs:
        part.append(each)
        if sum(len(packed.entries) for packed in part) >= SEGMENT:
            yield part
            part = []
    if part:
        yield part
