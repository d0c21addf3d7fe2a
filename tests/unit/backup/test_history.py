"""The newest snapshot of a domain; and bitmaps that lie."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from novafleet.capability.backup.audit import missed
from novafleet.capability.backup.history import History
from novafleet.model.backup import Snapshot
from novafleet.repository import Repository
from tests.unit.backup.disk import MemoryDisk
from tests.unit.repository.disks import StillClock, fresh, snapshot_of


async def _committed(repository: Repository, uuid: str) -> Snapshot:
    async with repository.backup(StillClock()) as store:
        root, _ = await (await store.disk(4096)).finish(4096)
        return await store.commit(replace(snapshot_of(root, 4096), uuid=uuid))


async def test_the_newest_snapshot_of_a_domain(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    history = History(repository)
    assert await history.newest("a") is None
    made = {uuid: await _committed(repository, uuid) for uuid in "abac"}
    assert await history.newest("a") == made["a"]
    later = await _committed(repository, "a")
    assert await history.newest("a") == later
    assert await history.newest("b") == made["b"]
    assert await history.newest("z") is None


def _disks() -> tuple[MemoryDisk, MemoryDisk]:
    now, before = MemoryDisk(1 << 20), MemoryDisk(1 << 20)
    for disk in (now, before):
        disk.write(0, b"x" * (1 << 19))
        disk.checkpoint()
    return now, before


async def test_a_bitmap_that_lies_is_found_out() -> None:
    now, before = _disks()
    assert await missed(now, before, random.Random(1)) is None
    now.write(0, b"y" * (1 << 19))
    assert await missed(now, before, random.Random(1)) is None  # dirty: no lie
    now.checkpoint()
    assert await missed(now, before, random.Random(1)) is not None


async def test_a_disk_too_small_to_look_at() -> None:
    assert await missed(MemoryDisk(512), MemoryDisk(512), random.Random(1)) is None
