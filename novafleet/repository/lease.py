"""The lease a writer holds: garbage collection deletes nothing a living writer may build upon.

Whoever adds to a repository holds ``leases/ID`` (or ``leases/ID.SNAPSHOT``, which names the snapshot it will commit
when that is not ID itself). Its body carries the newest garbage collection epoch the writer has seen; its date by the
store's clock is the heartbeat. A writer takes the lease first, then reads what is condemned, then the index.

A lease that is not renewed for ``STALE_AFTER`` is *fenced*, exactly and without trusting any clock of the writer's:
the collector itself creates the next index object and the snapshot object the writer would create. Of two creates of
one key one wins: either the writer was first, and the collector sees its snapshot, or its commit is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from novafleet.errors import FencedError, MissingObjectError, RepositoryError, SpaceError, StoreError
from novafleet.ports import Clock, ObjectStore
from novafleet.repository import epochs

LEASES = "leases/"
INDEX = "index/"
SNAPSHOTS = "snapshots/"
TRASH = "trash/"
"""Forgotten snapshots: ``trash/SNAPSHOT/ID``, the ID new each time, so that forgetting twice is two objects."""
COLLECTOR = "collector"
"""Instead of a snapshot's id: the lease of a garbage collection."""
SEAL = b"sealed\n"
"""Content of an index or snapshot object that keeps a fenced writer from creating it. Readers skip it by its size."""
REPLICA = "replica"
"""There in a repository that ``repo copy`` writes: nobody else may, until ``repo repair --promote``."""
RENEW_EVERY = 60.0
STALE_AFTER = 3600.0
"""Seconds without renewal, by the store's clock, after which a collector may fence a writer."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as others see it; ``renewed`` is by the store's clock, ``snapshot`` is empty for a collector's."""

    key: str
    id: str
    snapshot: str
    epoch: int
    renewed: float
    holder: str = ""


class Lease:
    """One writer's claim. Its ``id`` sorts by time and is the id of the snapshot it will commit."""

    def __init__(self, store: ObjectStore, lease_id: str, snapshot: str) -> None:
        self.id = lease_id
        self.snapshot = snapshot
        self.epoch = 0
        self.condemned: frozenset[str] = frozenset()
        """Packs on their way out when the lease was taken: a chunk that is only there must be stored again."""
        self.replica_too = False
        self._store = store
        self._segments = 0
        self._publishing = asyncio.Lock()

    @property
    def key(self) -> str:
        """The lease object's key."""
        return f"{LEASES}{self.id}" if self.snapshot == self.id else f"{LEASES}{self.id}.{self.snapshot}"

    async def take(self) -> None:
        """Write the lease, then read what is condemned. What the writer builds upon is looked up only after this.
        The epoch is read before: one that is too low only makes a collection wait.

        Raises RepositoryError NF-REPO-036 in a replica.
        """
        if not self.replica_too:
            await refuse_replica(self._store)
        self.epoch = await epochs.latest(self._store)
        if not await self._store.create(self.key, self._body()):
            raise RepositoryError("a lease of this name exists already", where=self.key)
        self.condemned = epochs.avoided(await epochs.outstanding(self._store))

    async def check(self) -> None:
        """Raise FencedError unless the lease is still there."""
        try:
            await self._store.stat(self.key)
        except MissingObjectError as exc:
            raise self._fenced() from exc

    async def renew(self) -> None:
        """Heartbeat. Raises FencedError."""
        await self.check()
        await self._store.put(self.key, self._body())

    async def publish(self, segment: bytes) -> str:
        """Add an index object; its key. The packs it names are durable already. Raises FencedError, StoreError."""
        async with self._publishing:
            key = segment_key(self.id, self._segments)
            if not await self._store.create(key, segment):
                raise self._fenced()
            self._segments += 1
            return key

    async def commit(self, content: bytes, *, parent: str = "") -> str:
        """Create the snapshot object; its key. ``parent`` is the id of the snapshot whose chunks were taken over
        without looking at each: while it is there, or in the trash, no collection that this lease lets pass by has
        condemned them. Raises FencedError, StoreError, RepositoryError NF-REPO-032 when the parent is gone.
        """
        if parent and not await present(self._store, parent):
            raise RepositoryError(
                "the snapshot this backup builds upon was deleted meanwhile; nothing was committed",
                code="NF-REPO-032",
                where=SNAPSHOTS + parent,
                hints=("run the same command again: it starts from a snapshot that is there",),
            )
        key = SNAPSHOTS + self.snapshot
        if not await self._store.create(key, content):
            raise self._fenced()
        return key

    async def end(self) -> None:
        """Give it back."""
        await self._store.delete(self.key)

    def _body(self) -> bytes:
        holder = f"{socket.gethostname()} pid {os.getpid()}"
        return json.dumps({"epoch": self.epoch, "holder": holder}).encode()

    def _fenced(self) -> FencedError:
        return FencedError(
            "this writer was away for so long that garbage collection went on without it; nothing was committed",
            code="NF-REPO-031",
            where=self.key,
            hints=("run the same command again: what is still stored will not be sent twice",),
        )


@asynccontextmanager
async def hold(
    store: ObjectStore,
    clock: Clock,
    *,
    snapshot: str | None = None,
    after: str = "",
    every: float = RENEW_EVERY,
    replica_too: bool = False,
) -> AsyncIterator[Lease]:
    """Take a lease, renew it in the background, give it back. ``snapshot`` is what it will commit when not a new one;
    ``COLLECTOR`` for a garbage collection; ``after`` a snapshot it must sort behind, whatever the clock says. Losing it
    is noticed by ``publish`` and ``commit``, which are then refused.
    """
    lease_id = new_id(max(clock.now(), moment(after) + 0.002) if after else clock.now())
    lease = Lease(store, lease_id, lease_id if snapshot is None else snapshot)
    lease.replica_too = replica_too
    await lease.take()
    renewing = asyncio.create_task(_renew(lease, clock, every))
    try:
        yield lease
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(StoreError):  # an abandoned lease is fenced one day; the first error is the one to see
            await lease.end()


async def _renew(lease: Lease, clock: Clock, every: float) -> None:
    """A renewal that fails is tried again later; a lease that is lost needs no renewal."""
    while True:
        await clock.sleep(every)
        try:
            await lease.renew()
        except FencedError:
            return
        except (StoreError, SpaceError):
            continue


async def present(store: ObjectStore, snapshot: str) -> bool:
    """Is a snapshot there, or in the trash?"""
    try:
        return (await store.stat(SNAPSHOTS + snapshot)).size != len(SEAL)
    except MissingObjectError:
        return any([True async for _ in store.list(f"{TRASH}{snapshot}/")])


async def exists(store: ObjectStore, key: str) -> bool:
    """Is an object there?"""
    try:
        await store.stat(key)
    except MissingObjectError:
        return False
    return True


async def refuse_replica(store: ObjectStore) -> None:
    """Raises RepositoryError NF-REPO-036 where only copying may write."""
    if await exists(store, REPLICA):
        raise _is_replica(store.url)


async def leases(store: ObjectStore) -> tuple[Held, ...]:
    """All leases. One that cannot be read counts as of epoch 0: it is waited for, and fenced like any other."""
    found = [each async for each in store.list(LEASES)]
    return tuple([await _held(store, each.key, each.modified) for each in found])


async def fence(store: ObjectStore, held: Held) -> None:
    """Make sure that a writer can add nothing any more: seal its index, then its snapshot, then drop its lease."""
    number = 0
    while not await store.create(segment_key(held.id, number), SEAL):
        if await _sealed(store, segment_key(held.id, number)):
            break
        number += 1
    if held.snapshot:
        await store.create(SNAPSHOTS + held.snapshot, SEAL)
    await store.delete(held.key)


def segment_key(lease_id: str, number: int) -> str:
    """The key of a writer's index object; it creates them from 0, without gaps."""
    return f"{INDEX}{lease_id}-{number:04}"


def new_id(now: float) -> str:
    """A lower-case ULID: 48 bits of milliseconds, 80 random ones."""
    value = (int(now * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def moment(lease_id: str) -> float:
    """The time that an id begins with."""
    value = 0
    for letter in lease_id:
        value = value * 32 + _ALPHABET.index(letter)
    return (value >> 80) / 1000


async def _held(store: ObjectStore, key: str, renewed: float) -> Held:
    lease_id, dot, snapshot = key.removeprefix(LEASES).partition(".")
    epoch, holder = 0, ""
    try:
        body = json.loads(await store.get(key))
        epoch, holder = int(body["epoch"]), str(body["holder"])
    except (MissingObjectError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass  # gone since it was listed, or damaged: waited for either way
    commits = snapshot if dot else lease_id
    return Held(key, lease_id, "" if commits == COLLECTOR else commits, epoch, renewed, holder)


async def _sealed(store: ObjectStore, key: str) -> bool:
    return (await store.stat(key)).size == len(SEAL)


def _is_replica(url: str) -> RepositoryError:
    return RepositoryError(
        "this repository is a replica: only `repo copy` writes to it",
        code="NF-REPO-036",
        where=url,
        hints=(f"novafleet repo repair {url} --key-file K --promote   # makes it one of its own",),
    )
