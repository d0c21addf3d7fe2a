"""A repository whose store has a clock one can turn, and disks of a few blocks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from novafleet.model.backup import Snapshot
from novafleet.repository import Repository
from novafleet.repository.collected import Collected, Rules
from novafleet.repository.contents import RepositoryContents
from novafleet.repository.gc import collect
from tests.fakes.memorystore import MemoryStore
from tests.unit.repository.disks import BLOCK, StillClock, fresh, read_back, snapshot_of

HOUR = 3600.0
DAY = 25 * HOUR


class DatedStore(MemoryStore):
    """Its own clock dates objects."""

    now = 1_000_000.0

    def _set(self, key: str, data: bytes) -> None:
        super()._set(key, data)
        self.dates[key] = self.now


class Shelf:
    """A repository, its clock, and what every snapshot must read back as."""

    def __init__(self, repository: Repository, store: DatedStore) -> None:
        self.repository = repository
        self.store = store
        self.clock = StillClock()
        self.content: dict[str, dict[int, bytes]] = {}

    @classmethod
    async def make(cls, folder: Path) -> Shelf:
        store = DatedStore()
        return cls(await fresh(folder, store), store)

    async def back_up(
        self, blocks: dict[int, bytes], *, parent: Snapshot | None = None, vm: str = "vm", size: int = 64 * BLOCK
    ) -> Snapshot:
        """A snapshot of one disk; the parent's blocks are inherited."""
        inherited = dict(self.content[parent.id]) if parent else {}
        async with self.repository.backup(self.clock) as backup:
            disk = await backup.disk(size, parent.disks["vda"] if parent else None)
            for number, data in sorted(blocks.items()):
                await disk.data(number * BLOCK, data)
            root, stored = await disk.finish(size)
            made = snapshot_of(root, size, parent=parent.id if parent else "", at=self.clock.now())
            named = replace(made, vm=vm, domain=vm, uuid=f"uuid-{vm}")
            disks = {"vda": replace(named.disks["vda"], bytes_stored=stored)}
            done = await backup.commit(replace(named, disks=disks))
        self.content[done.id] = inherited | blocks
        return done

    async def collect(self, grace: float = 24 * HOUR) -> Collected:
        """One collection, with eyes that have seen nothing before."""
        return await collect(self.store, RepositoryContents(self.repository), self.clock, Rules(grace=grace))

    async def restores(self) -> int:
        """Every snapshot reads back as it was; how many there are."""
        found = await self.repository.snapshots()
        for each in found:
            assert await read_back(await self.repository.disk(each.disks["vda"])) == self.content[each.id]
        return len(found)

    def pass_time(self, seconds: float) -> None:
        self.store.now += seconds

    def packs(self) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith("packs/"))


def noise() -> bytes:
    """A block nothing compresses or repeats."""
    return os.urandom(BLOCK)
