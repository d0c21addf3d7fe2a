"""From content to durable objects: threads that seal, uploads at once, memory bounded by a budget of bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

from novafleet.ports import ObjectStore
from novafleet.repository import index, pack
from novafleet.repository.chunkmap import Chunk
from novafleet.repository.index import Index, Packed
from novafleet.repository.lease import Lease
from novafleet.repository.pack import Sealed
from novafleet.repository.seal import Keyring, Kind
from novafleet.repository.sealer import Sealer, Stored

IN_FLIGHT = 96 << 20
"""Bytes being sealed or uploaded. Beside them there are two open packs; one exists twice while it is put together."""
UPLOADS = 4
SEGMENT = 1 << 14
"""Entries after which an index segment is written: what a killed run stored so far is found by the next."""
THREADS = max(2, min(os.cpu_count() or 2, 8))


class Budget:
    """A bounded number of bytes under way; one request may exceed it when nothing else is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None

    async def take(self, size: int) -> None:
        """Wait for room. Raises what ``fail`` was given."""
        while self._failure is None and self._used and self._used + size > self._limit:
            self._changed.clear()
            await self._changed.wait()
        self.check()
        self._used += size

    def check(self) -> None:
        """Raises what ``fail`` was given."""
        if self._failure is not None:
            raise self._failure

    def hold(self, size: int) -> None:
        """Count what is there already: those who ask for room wait the longer."""
        self._used += size

    def give(self, size: int) -> None:
        """Make room."""
        self._used -= size
        self._changed.set()

    def fail(self, failure: BaseException) -> None:
        """Nobody gets any more."""
        self._failure = self._failure or failure
        self._changed.set()


class Pipeline:
    """Used from one event loop. The first failure is raised by every later call."""

    def __init__(self, store: ObjectStore, keyring: Keyring, table: Index, lease: Lease) -> None:
        self._store = store
        self._keyring = keyring
        self._table = table
        self._lease = lease
        self._sealer = Sealer(keyring, table, lease.condemned)
        self._pool = ThreadPoolExecutor(THREADS, "seal")
        self._budget = Budget(IN_FLIGHT)
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unlisted: list[Packed] = []
        self.stored = 0
        """Bytes given to the store."""
        self.segments: list[str] = []
        """Index objects written; the table knows what they say."""

    async def put(self, kind: Kind, content: bytes, added: Callable[[int], None]) -> Chunk:
        """Accept content; its chunk has an id once ``settle`` returned. ``added`` hears of bytes that were new."""
        await self._budget.take(len(content))
        chunk = Chunk()
        self._start(self._seal(kind, content, chunk, added))
        return chunk

    async def settle(self) -> None:
        """Wait until all that was accepted so far is hashed and sealed, whatever others add meanwhile."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self._budget.check()

    async def flush(self) -> None:
        """Make all that was accepted so far durable and listed in the index."""
        await self.settle()
        self._start(self._close())
        await self.settle()
        await self.settle()  # the uploads that this began, and those of packs that others had to fill first
        await self._list()

    async def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is not None:
            self._budget.fail(failure)

    async def _seal(self, kind: Kind, content: bytes, chunk: Chunk, added: Callable[[int], None]) -> None:
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._sealer.store, kind, content)
        stored: Stored = await running
        chunk.id = stored.id
        added(stored.added)
        for sealed in stored.packs:
            self._start(self._upload(sealed))
        self._budget.give(len(content))

    async def _close(self) -> None:
        for sealed in await asyncio.get_running_loop().run_in_executor(self._pool, self._sealer.close):
            self._start(self._upload(sealed))

    def _upload(self, sealed: Sealed) -> Coroutine[None, None, None]:
        self._budget.hold(len(sealed.content))
        return self._uploaded(sealed)

    async def _uploaded(self, sealed: Sealed) -> None:
        async with self._uploads:
            await self._store.put(pack.key_of(sealed.name), sealed.content)
        self.stored += len(sealed.content)
        self._budget.give(len(sealed.content))
        packed = Packed(sealed.name, sealed.salt, sealed.entries)
        self._table.add(packed)
        self._sealer.settled(sealed.entries)
        self._unlisted.append(packed)
        if sum(len(each.entries) for each in self._unlisted) >= SEGMENT:
            await self._list()

    async def _list(self) -> None:
        listed, self._unlisted = self._unlisted, []
        if listed:
            segment = await asyncio.to_thread(index.encode, listed, self._keyring)
            self.segments.append(await self._lease.publish(segment))
            self.stored += len(segment)
