"""Processes that prune, copy and repair a real directory, killed at random moments; and several that do it at once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.app.retention import collect_rounds
from novafleet.model.backup import Snapshot
from novafleet.objectstore.directory import DirectoryStore
from novafleet.repository import Repository, trash
from novafleet.repository.check import check
from novafleet.repository.gc import Rules
from novafleet.repository.repair import repair
from novafleet.repository.replicate import replicate
from tests.unit.repository.disks import BLOCK, StillClock, fresh, key_file, read_back, snapshot_of

ROUNDS = 20
AT_ONCE = Rules(grace=0.0, stale_after=0.0)
"""Whoever was killed is fenced by the next; nobody else runs."""
SIZE = 32 * BLOCK
Content = dict[str, dict[int, bytes]]
Work = Callable[[Path, random.Random], Awaitable[None]]


class JumpingClock(StillClock):
    """A controller's clock that is a day off, one way or the other, at every look."""

    def now(self) -> float:
        return super().now() + random.choice((-86400.0, 0.0, 86400.0))


async def back_up(repository: Repository, blocks: dict[int, bytes], clock: StillClock, vm: str = "vm") -> Snapshot:
    async with repository.backup(clock) as backup:
        disk = await backup.disk(SIZE)
        for number, data in sorted(blocks.items()):
            await disk.data(number * BLOCK, data)
        root, _ = await disk.finish(SIZE)
        return await backup.commit(replace(snapshot_of(root, SIZE), vm=vm, uuid=vm))


async def filled(folder: Path) -> Content:
    """A repository of overlapping snapshots."""
    store = DirectoryStore(folder / "repo")
    repository = await fresh(folder, store)
    shared, content, clock = {n: os.urandom(BLOCK) for n in range(0, 16, 2)}, {}, StillClock()
    for number in range(6):
        blocks = {n: data for n, data in shared.items() if n >= number} | {20 + number: os.urandom(BLOCK)}
        content[(await back_up(repository, blocks, clock)).id] = blocks
    await store.close()
    return content


async def assert_whole(folder: Path, place: str, content: Content) -> int:
    """Clean, and every snapshot there is reads back; how many there are."""
    store = DirectoryStore(folder / place)
    repository = await Repository.open(store, key_file(folder))
    done = await check(repository, share=1.0)
    assert done.clean, done.damage
    for each in await repository.snapshots():
        assert await read_back(await repository.disk(each.disks["vda"])) == content[each.id]
    await store.close()
    return done.snapshots


async def pruned(folder: Path, chance: random.Random) -> None:
    store = DirectoryStore(folder / "repo")
    repository = await Repository.open(store, key_file(folder))
    found = await repository.snapshots()
    if len(found) > 2:
        await trash.forget(store, StillClock(), [chance.choice(found).id])
    for each in await trash.trashed(store):
        if chance.random() < 0.3:
            await trash.undo(store, StillClock(), each.snapshot)
    await collect_rounds(repository, StillClock(), AT_ONCE)
    await store.close()


async def repaired(folder: Path, chance: random.Random) -> None:
    """Loses its index every other time; packs are never damaged, so that nothing may ever be lost."""
    store = DirectoryStore(folder / "repo")
    if chance.random() < 0.5:
        for each in [found async for found in store.list("index/")]:
            await store.delete(each.key)
    repository = await Repository.open(store, key_file(folder))
    await repair(repository, StillClock(), read_data=True)
    await store.close()


async def copied(folder: Path, chance: random.Random) -> None:
    source, target = DirectoryStore(folder / "repo"), DirectoryStore(folder / "replica")
    repository = await Repository.open(source, key_file(folder))
    await replicate(source, target, StillClock(), delete=chance.random() < 0.5)
    await repository.snapshots()
    await source.close()
    await target.close()


def run_and_kill(work: Work, folder: Path, seed: int, after: float) -> bool:
    """In a process of its own, which a timer ends without any ado; True when it came to its end before."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, after)
        try:
            asyncio.run(work(folder, random.Random(seed)))
        except BaseException:  # noqa: BLE001 - the child must not come back into pytest
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGALRM), f"the child failed: {status}"
    return status == 0


@pytest.mark.parametrize("work", [pruned, repaired, copied], ids=lambda work: work.__name__)
def test_killed_at_random_moments(work: Work, tmp_path: Path) -> None:
    content = asyncio.run(filled(tmp_path))
    chance, longest, ended = random.Random(7), 0.4, 0
    for seed in range(ROUNDS):
        ended += run_and_kill(work, tmp_path, seed, chance.uniform(0.005, longest))
        if work is repaired:
            asyncio.run(repaired(tmp_path, random.Random(1)))
        asyncio.run(assert_whole(tmp_path, "repo", content))
        if work is copied and (tmp_path / "replica" / "config").exists():
            asyncio.run(assert_whole(tmp_path, "replica", content))
    assert ended < ROUNDS, "some were killed"
    assert run_and_kill(work, tmp_path, 1, 60.0)
    left = asyncio.run(assert_whole(tmp_path, "replica" if work is copied else "repo", content))
    assert left == 6 if work is not pruned else left >= 2


async def test_two_prunes_and_backups_at_once(tmp_path: Path) -> None:
    """Three controllers, each with a store and a clock of its own; nobody waits for anybody."""
    content = await filled(tmp_path)
    stores = [DirectoryStore(tmp_path / "repo") for _ in range(3)]
    repositories = [await Repository.open(store, key_file(tmp_path)) for store in stores]
    old = [each.id for each in await repositories[0].snapshots()]
    shared = content[old[0]]

    async def prune(repository: Repository) -> None:
        for each in old[:-1]:
            await trash.forget(repository.store, JumpingClock(), [each])
            await collect_rounds(repository, JumpingClock(), Rules(grace=0.0))

    async def backups(repository: Repository) -> None:
        for number in range(6):
            blocks = shared | {20 + number: os.urandom(BLOCK)}
            content[(await back_up(repository, blocks, JumpingClock())).id] = blocks

    await asyncio.gather(prune(repositories[0]), prune(repositories[1]), backups(repositories[2]))
    for store in stores:
        await store.close()
    assert await assert_whole(tmp_path, "repo", content) == 7
