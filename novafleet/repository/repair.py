"""Mends a repository: an index that is damaged or wrong, packs that are damaged. What is lost after that is listed.

Every pack says itself what is in it, so that an index can be made anew. A damaged pack goes to ``quarantine/`` after
what is still good in it was stored again: the next backup then stores what is missing, and old snapshots are whole
again where the content still exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.ports import Clock
from novafleet.repository import epochs, index, pack
from novafleet.repository.check import LOST, Progress, decoded, lost, pack_sizes, read_pack
from novafleet.repository.contents import RepositoryContents, read_segment
from novafleet.repository.index import Index, Packed
from novafleet.repository.lease import COLLECTOR, REPLICA, SEAL, Lease, hold
from novafleet.repository.pipeline import Pipeline
from novafleet.repository.repository import Repository
from novafleet.repository.walk import Lost

QUARANTINE = "quarantine/"


@dataclass(slots=True)
class Repaired:
    """What was done, and what remains lost."""

    indexed: list[str] = field(default_factory=list)
    """Packs no index listed; garbage of killed runs too, which collection finds again."""
    unlisted: list[str] = field(default_factory=list)
    """Packs an index listed that are gone."""
    dropped: list[str] = field(default_factory=list)
    """Index objects, and records of garbage collection, that could not be read."""
    quarantined: list[str] = field(default_factory=list)
    salvaged: int = 0
    """Chunks of damaged packs that were stored again."""
    lost: tuple[Lost, ...] = ()


async def repair(
    repository: Repository,
    clock: Clock,
    *,
    read_data: bool = False,
    promote: bool = False,
    progress: Progress = lambda *_: None,
) -> Repaired:
    """Mend what can be mended; may be killed and run again. ``read_data``: read every pack to find damaged ones.
    ``promote``: the repository is a replica, and becomes one of its own."""
    lists = await epochs.drop_damaged(repository.store)
    async with hold(repository.store, clock, snapshot=COLLECTOR, replica_too=promote) as lease:
        work = _Repair(repository, lease, progress)
        await work.index()
        await work.packs(read_data=read_data)
        if promote:
            await repository.store.delete(REPLICA)
        work.done.dropped += lists
        work.done.lost = await lost(repository, progress=progress)
        await work.record()
        return work.done


class _Repair:
    def __init__(self, repository: Repository, lease: Lease, progress: Progress) -> None:
        self._repository = repository
        self._store = repository.store
        self._contents = RepositoryContents(repository)
        self._lease = lease
        self._progress = progress
        self.done = Repaired()
        self._bad: dict[str, set[int]] = {}

    async def index(self) -> None:
        """Every pack that is there is listed, and none that is not."""
        listed, damaged = await self._listed()
        present = frozenset(await pack_sizes(self._store))  # listed after the index was read: its packs came before it
        gone = frozenset().union(*listed.values()) - present if listed else frozenset()
        doomed = frozenset[str]().union(*(each.doomed for each in await epochs.outstanding(self._store)))
        known = frozenset().union(*listed.values()) if listed else frozenset()
        await self._add(sorted(present - known - doomed))
        await self._without(gone)
        for key in damaged:
            await self._store.delete(key)
        self.done.unlisted, self.done.dropped = sorted(gone), sorted(damaged)

    async def packs(self, *, read_data: bool) -> None:
        """Damaged packs go to quarantine."""
        names = sorted(await pack_sizes(self._store)) if read_data else []
        for number, name in enumerate(names):
            self._progress("reading packs", number, len(names))
            _, findings = await read_pack(self._repository, name)
            if findings:
                self._bad[name] = {offset for offset, _ in findings}
        for name in sorted(self._bad):
            await self._quarantine(name)

    async def record(self) -> None:
        """What remains lost is for the next backups to find on the disks they read."""
        if self.done.lost:
            await self._store.put(LOST, json.dumps({"parts": len(self.done.lost)}).encode())
        else:
            await self._store.delete(LOST)

    async def _listed(self) -> tuple[dict[str, frozenset[str]], list[str]]:
        listed, damaged = {}, []
        keys = [each.key async for each in self._store.list(index.PREFIX) if each.size != len(SEAL)]
        for key in sorted(keys):
            try:
                packs = read_segment(await self._store.get(key), self._repository.keyring, key)
                listed[key] = frozenset(each.name for each in packs)
            except RepositoryError:
                damaged.append(key)
            except MissingObjectError:
                continue
        return listed, damaged

    async def _add(self, names: Sequence[str]) -> None:
        """List packs as their own tables say; one that cannot is damaged."""
        found: list[Packed] = []
        for name in names:
            try:
                found.append(await self._contents.packed(name))
            except MissingObjectError:
                continue
            except RepositoryError:
                self._bad[name] = {-1}
        self.done.indexed = [each.name for each in found]
        await self._contents.publish(self._lease, found)

    async def _without(self, names: Iterable[str]) -> None:
        """Index objects that list these packs are written anew without them."""
        unwanted = frozenset(names)
        if not unwanted:
            return
        async for key, packs in self._contents.segments(skip_damaged=True):
            rest = [each for each in packs if each.name not in unwanted]
            if len(rest) < len(packs):
                await self._contents.publish(self._lease, rest)
                await self._store.delete(key)

    async def _quarantine(self, name: str) -> None:
        """Store again what is good in it, take it out of the index, move it away: in this order."""
        try:
            content = await self._store.get(pack.key_of(name))
        except MissingObjectError:
            return
        await self._salvage(name, content)
        await self._without([name])
        await self._store.put(QUARANTINE + name, content)
        await self._store.delete(pack.key_of(name))
        self.done.quarantined.append(name)

    async def _salvage(self, name: str, content: bytes) -> None:
        packed = await self._table(name)
        if packed is None:
            return
        pipeline = Pipeline(self._store, self._repository.keyring, Index(), self._lease)
        try:
            for entry, plain in decoded(self._repository, packed, content):
                if isinstance(plain, bytes):
                    await pipeline.put(entry.kind, plain, lambda _: None)
                    self.done.salvaged += 1
            await pipeline.flush()
        finally:
            await pipeline.close()

    async def _table(self, name: str) -> Packed | None:
        try:
            return await self._contents.packed(name)
        except RepositoryError:
            async for _, packs in self._contents.segments(skip_damaged=True):
                for each in packs:
                    if each.name == name:
                        return each
        return None
