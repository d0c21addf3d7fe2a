"""The index as it is in the store, and its table in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.ports import ObjectStore
from novafleet.repository import index
from novafleet.repository.index import Index
from novafleet.repository.lease import SEAL
from novafleet.repository.seal import Keyring

AT_ONCE = 8
TRIES = 5


class Segments:
    """Reads each segment once, and all of them anew when one has gone: what it listed may have gone too."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._table = Index()
        self._read: set[str] = set()
        self._fresh = False
        self._lock = asyncio.Lock()

    async def table(self, *, again: bool = False) -> Index:
        """The table; ``again`` brings it up to date first. Raises RepositoryError NF-REPO-010, StoreError."""
        async with self._lock:
            for _ in range(TRIES if again or not self._fresh else 0):
                self._fresh = await self._catch_up()
                if self._fresh:
                    break
            if not self._fresh:
                raise RepositoryError("the index changes faster than it can be read", where=self._store.url)
            return self._table

    def known(self, table: Index, keys: Iterable[str]) -> None:
        """What these say was added to ``table`` as it was written."""
        if table is self._table:
            self._read.update(keys)

    async def _catch_up(self) -> bool:
        """False when a segment vanished while we read: a collection writes the index anew."""
        listed = {each.key async for each in self._store.list(index.PREFIX) if each.size != len(SEAL)}
        if self._read - listed:
            self._table, self._read = Index(), set()
        slots = asyncio.Semaphore(AT_ONCE)
        table, missing = self._table, sorted(listed - self._read)
        return all(await asyncio.gather(*(self._load(key, table, slots) for key in missing)))

    async def _load(self, key: str, table: Index, slots: asyncio.Semaphore) -> bool:
        async with slots:
            try:
                sealed = await self._store.get(key)
            except MissingObjectError:
                return False
            await asyncio.to_thread(self._take_in, key, sealed, table)
        self._read.add(key)
        return True

    def _take_in(self, key: str, sealed: bytes, table: Index) -> None:
        table.load(*index.unseal(sealed, self._keyring, f"{self._store.url}: {key}"))
