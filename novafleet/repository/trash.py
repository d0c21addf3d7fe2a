"""Forgetting is a move: a snapshot stays readable in the trash until a later garbage collection has finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.ports import Clock, ObjectStore
from novafleet.repository.lease import SEAL, SNAPSHOTS, TRASH, hold, new_id, refuse_replica


@dataclass(frozen=True, slots=True)
class Trashed:
    """A forgotten snapshot; ``at`` is when it was, by the store's clock."""

    snapshot: str
    key: str
    at: float


async def trashed(store: ObjectStore) -> tuple[Trashed, ...]:
    """What is in the trash, oldest first."""
    found = [Trashed(each.key.split("/")[1], each.key, each.modified) async for each in store.list(TRASH)]
    return tuple(sorted(found, key=lambda each: (each.at, each.key)))


async def forget(store: ObjectStore, clock: Clock, snapshots: Sequence[str]) -> None:
    """Move snapshots (by id) to the trash; one that is there already, or gone, is fine. Raises RepositoryError
    NF-REPO-036 in a replica."""
    await refuse_replica(store)
    for snapshot in snapshots:
        key = SNAPSHOTS + snapshot
        try:
            content = await store.get(key)
        except MissingObjectError:
            continue
        if content != SEAL:
            await store.put(f"{TRASH}{snapshot}/{new_id(clock.now())}", content)
            await store.delete(key)


async def undo(store: ObjectStore, clock: Clock, snapshot: str) -> None:
    """Bring a snapshot back. Raises RepositoryError NF-REPO-034 when it has left the trash, FencedError."""
    async with hold(store, clock, snapshot=snapshot) as lease:
        content = await _content(store, snapshot)
        try:
            if await store.get(SNAPSHOTS + snapshot) == content:
                return
            await store.delete(SNAPSHOTS + snapshot)  # the seal of an attempt that was killed
        except MissingObjectError:
            pass  # as it should be
        await lease.commit(content)


async def _content(store: ObjectStore, snapshot: str) -> bytes:
    """What the trash holds of it. The trash object stays where it is: collections saw it there."""
    for key in sorted([each.key async for each in store.list(f"{TRASH}{snapshot}/")], reverse=True):
        try:
            return await store.get(key)
        except MissingObjectError:
            continue
    raise RepositoryError(
        f"snapshot {snapshot} is not in the trash (any more)",
        code="NF-REPO-034",
        where=f"{store.url}: {TRASH}{snapshot}/",
        hints=("novafleet backup forget --trash --repo URL --key-file K   # lists what can be brought back",),
    )
