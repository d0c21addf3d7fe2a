"""Copies a repository object by object into another store; needs no key, and nothing is lost when it is killed.

The target is a *replica*: only copying writes to it, so that its index never names what is not there. Under a lease in
the source the snapshots are listed first; then packs, index, records and at last the snapshots are copied, so that what
is seen in the target is whole. What exists is never written again: a second run goes on where the first was killed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.ports import Clock, ObjectStore
from novafleet.repository import catalogue, config, index, keys, pack, records
from novafleet.repository.check import hash_of
from novafleet.repository.lease import REPLICA, SEAL, exists, hold
from novafleet.repository.repository import READER, README, config_of

AT_ONCE = 4
"""Packs in memory at a time."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What one run did. ``damaged`` are packs of the source that are not what their name says; they are not copied."""

    snapshots: tuple[str, ...]
    packs: int
    bytes_copied: int
    deleted: int
    damaged: tuple[str, ...]


async def replicate(
    source: ObjectStore,
    target: ObjectStore,
    clock: Clock,
    *,
    delete: bool = False,
    progress: Progress = lambda *_: None,
) -> Copied:
    """Bring a replica up to date. ``delete``: also remove from it what the source has no more.

    Raises RepositoryError NF-REPO-002 (no source), -004 (a newer one), NF-REPO-035 (the target is another repository,
    or one of its own).
    """
    await _prepare(source, target)
    async with hold(source, clock, replica_too=True):
        return await _Copying(source, target, progress).run(delete=delete)


async def _prepare(source: ObjectStore, target: ObjectStore) -> None:
    """The mark of a replica in the target, keys, and at last the same config: from then on it can be opened."""
    wanted = await config_of(source)
    if not await exists(target, config.KEY):
        await target.put(REPLICA, json.dumps({"of": source.url}).encode())
        slots = sorted([each.key async for each in source.list(keys.PREFIX)])
        for key in (*slots, READER, README):
            with suppress(MissingObjectError):  # a repository is one without reader.py too
                await target.put(key, await source.get(key))
        await target.create(config.KEY, wanted)
    if await target.get(config.KEY) != wanted or not await exists(target, REPLICA):
        raise RepositoryError(
            "the target is no replica of this repository",
            code="NF-REPO-035",
            where=target.url,
            hints=("name an empty directory, export or prefix",),
        )


class _Copying:
    """One run. What the target has is listed before the source is: only what was there then may be deleted."""

    def __init__(self, source: ObjectStore, target: ObjectStore, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._bytes = 0
        self._damaged: list[str] = []
        self._deleted = 0

    async def run(self, *, delete: bool) -> Copied:
        """Everything, in the safe order."""
        before = {prefix: await self._list(self._target, prefix) for prefix in PREFIXES}
        now = {prefix: await self._list(self._source, prefix) for prefix in PREFIXES}
        packs = await self._copy_packs(sorted(now[pack.PREFIX].keys() - before[pack.PREFIX].keys()))
        for prefix in PREFIXES[1:]:
            for key in sorted(now[prefix].keys() - before[prefix].keys()):
                await self._copy(key)
        fresh = now[catalogue.PREFIX].keys() - before[catalogue.PREFIX].keys()
        if delete:
            for prefix in reversed(PREFIXES):
                await self._delete(sorted(before[prefix].keys() - now[prefix].keys()))
        names = tuple(sorted(key.removeprefix(catalogue.PREFIX) for key in fresh))
        return Copied(names, packs, self._bytes, self._deleted, tuple(sorted(self._damaged)))

    async def _list(self, store: ObjectStore, prefix: str) -> dict[str, int]:
        return {each.key: each.size async for each in store.list(prefix) if each.size != len(SEAL)}

    async def _copy_packs(self, names: Sequence[str]) -> int:
        copied = 0
        for at in range(0, len(names), AT_ONCE):
            self._progress("copying packs", at, len(names))
            copied += sum(await asyncio.gather(*(self._copy_pack(key) for key in names[at : at + AT_ONCE])))
        return copied

    async def _copy_pack(self, key: str) -> bool:
        try:
            content = await self._source.get(key)
        except MissingObjectError:
            return False  # collected: no snapshot that was listed needs it
        if await asyncio.to_thread(hash_of, content) != key.rpartition("/")[2]:
            self._damaged.append(key.rpartition("/")[2])
            return False
        await self._target.put(key, content)
        self._bytes += len(content)
        return True

    async def _copy(self, key: str) -> None:
        try:
            content = await self._source.get(key)
        except MissingObjectError:
            return
        if content != SEAL:
            await self._target.create(key, content)
            self._bytes += len(content)

    async def _delete(self, names: Sequence[str]) -> None:
        for key in names:
            await self._target.delete(key)
            self._deleted += 1


PREFIXES = (pack.PREFIX, index.PREFIX, keys.PREFIX, records.PROOFS, records.HOLDS, catalogue.PREFIX)
"""In the order in which they are copied; what is removed goes the other way round."""
