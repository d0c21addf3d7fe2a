"""What a store must show before a repository is made in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from novafleet.errors import Retry, StoreError

if TYPE_CHECKING:
    from novafleet.ports import ObjectStore

BODY = bytes(range(256)) * 32


@dataclass(frozen=True, slots=True)
class Probe:
    """What was seen. ``why`` says why a store is not ``exclusive``; ``skew`` is the store's clock minus ours, 0 when
    they agree as far as can be seen; ``seconds`` is how long the probe took."""

    exclusive: bool
    why: str
    skew: float
    seconds: float


@runtime_checkable
class Doubted(Protocol):
    """A store that can say why it is not exclusive."""

    @property
    def doubt(self) -> str:
        """Empty while there is no reason."""


async def probe(store: ObjectStore, clock: Callable[[], float] = time.time) -> Probe:
    """Write, create twice, read, read a range, list and delete below ``probe/``, which is left empty.

    Raises StoreError NF-STORE-040 when the store does not give back what it was given, and whatever it raises itself.
    """
    folder, started = f"probe/{secrets.token_hex(12)}", time.monotonic()
    mark, lock = f"{folder}/mark", f"{folder}/lock"
    try:
        skew = await _round_trip(store, mark, clock)
        won = [await store.create(lock, body) for body in (b"first", b"second")]
        kept = await store.get(lock)
        listed = {found.key async for found in store.list(f"{folder}/")}
    finally:
        for key in (mark, lock):
            await store.delete(key)
    _demand(listed == {mark, lock}, store, f"its listing has {len(listed)} of 2 objects")
    _demand([found async for found in store.list(f"{folder}/")] == [], store, "it lists objects that were deleted")
    why = _doubt(store, won, kept)
    return Probe(not why, why, skew, time.monotonic() - started)


def demand_exclusive(store: ObjectStore, seen: Probe) -> None:
    """Raise StoreError NF-STORE-041 for a store in which two controllers could overwrite each other's objects."""
    if not seen.exclusive:
        raise StoreError(
            "this store cannot keep two writers apart",
            code="NF-STORE-041",
            where=store.url,
            cause=seen.why,
            hints=(
                f"novafleet repo init {store.url} --single-writer   # if only ever one controller writes to it",
                "or use a store with conditional writes: a directory, NFS, AWS S3, Ceph, SeaweedFS",
            ),
            retry=Retry.AFTER_FIX,
        )


async def _round_trip(store: ObjectStore, key: str, clock: Callable[[], float]) -> float:
    """Write, read whole and in part, replace. Returns the skew: none if the date, which may be in whole seconds, lies
    between our two looks at the clock."""
    await store.put(key, b"old")
    before = clock()
    await store.put(key, BODY)
    after = clock()
    _demand(await store.get(key) == BODY, store, "it gave back other bytes than it was given")
    _demand(await store.get(key, 100, 50) == BODY[100:150], store, "it gave back another range than was asked for")
    found = await store.stat(key)
    _demand(found.size == len(BODY), store, f"it says {found.size} bytes of an object of {len(BODY)}")
    return found.modified - min(max(found.modified, int(before)), after)


def _doubt(store: ObjectStore, won: list[bool], kept: bytes) -> str:
    if not store.exclusive:
        return store.doubt if isinstance(store, Doubted) and store.doubt else "it has no exclusive creation"
    if won != [True, False] or kept != b"first":
        return f"two creations of one object answered {won}, and it holds the {kept[:6].decode(errors='replace')}"
    return ""


def _demand(seen: bool, store: ObjectStore, what: str) -> None:
    if not seen:
        raise StoreError(
            "the store does not keep objects as a repository needs it",
            code="NF-STORE-040",
            where=store.url,
            cause=what,
            retry=Retry.AFTER_FIX,
        )
