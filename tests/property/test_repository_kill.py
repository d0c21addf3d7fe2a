"""Processes that prune, copy and repair a real repository, killed at random moments; and several at once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.app.retention import collect_rounds
from novafleet.model.backup import Snapshot
from novafleet.objectstore.open import open_store
from novafleet.ports import ObjectStore
from novafleet.repository import Repository, trash
from novafleet.repository.check import check
from novafleet.repository.collected import Rules
from novafleet.repository.lease import exists
from tests.property.repositorychild import Place, act
from tests.unit.repository.disks import BLOCK, StillClock, fresh, key_file, read_back, snapshot_of

ROOT = Path(__file__).parents[2]
SIZE = 32 * BLOCK
Content = dict[str, dict[int, bytes]]


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


async def filled(folder: Path, store: ObjectStore) -> Content:
    """A repository of overlapping snapshots."""
    repository = await fresh(folder, store)
    shared, content, clock = {n: os.urandom(BLOCK) for n in range(0, 16, 2)}, {}, StillClock()
    for number in range(6):
        blocks = {n: data for n, data in shared.items() if n >= number} | {20 + number: os.urandom(BLOCK)}
        content[(await back_up(repository, blocks, clock)).id] = blocks
    await store.close()
    return content


async def assert_whole(folder: Path, url: str, content: Content) -> int:
    """Clean, and every snapshot there is reads back; how many there are."""
    store = open_store(url)
    repository = await Repository.open(store, key_file(folder))
    done = await check(repository, share=1.0)
    assert done.clean, done.damage
    for each in await repository.snapshots():
        assert await read_back(await repository.disk(each.disks["vda"])) == content[each.id]
    await store.close()
    return done.snapshots


async def is_there(url: str) -> bool:
    store = open_store(url)
    found = await exists(store, "config")
    await store.close()
    return found


def forked(work: str, place: Place, seed: int, after: float) -> int:
    """Quick, and only for directories: other stores have threads that do not survive it."""
    child = os.fork()
    if child == 0:
        try:
            act(work, place, seed, after)
        except BaseException:  # noqa: BLE001 - the child must not come back into pytest
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def spawned(work: str, place: Place, seed: int, after: float) -> int:
    words = [work, place.url, place.replica, str(place.folder), str(seed), str(after)]
    argv = [sys.executable, "-m", "tests.property.repositorychild", *words]
    return subprocess.run(argv, cwd=ROOT, check=False, timeout=120).returncode


@pytest.fixture(
    params=["directory", pytest.param("s3", marks=pytest.mark.slow), pytest.param("nfs", marks=pytest.mark.slow)]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return Place(str(tmp_path / "repo"), str(tmp_path / "replica"), tmp_path)
    url: str = request.getfixturevalue(f"{request.param}_url")
    path, question, options = url.partition("?")
    return Place(f"{path}/repo{question}{options}", f"{path}/replica{question}{options}", tmp_path)


@pytest.mark.parametrize("work", ["pruned", "repaired", "copied"])
def test_killed_at_random_moments(work: str, place: Place, tmp_path: Path) -> None:
    local = "://" not in place.url
    run, rounds, longest = (forked, 20, 0.4) if local else (spawned, 8, 1.5)
    content = asyncio.run(filled(tmp_path, open_store(place.url)))
    chance, ends = random.Random(7), []
    for seed in range(rounds):
        moment = chance.uniform(0.005, longest)
        ends.append(run(work, place, seed, moment))
        longest = moment if ends[-1] == 0 and moment > 0.02 else longest  # it ends sooner: kill earlier
        if work == "repaired":
            assert run(work, place, 1, 60.0) == 0
        asyncio.run(assert_whole(tmp_path, place.url, content))
        if work == "copied" and asyncio.run(is_there(place.replica)):
            asyncio.run(assert_whole(tmp_path, place.replica, content))
    assert set(ends) <= {0, -signal.SIGALRM}, ends
    assert -signal.SIGALRM in ends, "some were killed"
    assert run(work, place, 1, 60.0) == 0
    left = asyncio.run(assert_whole(tmp_path, place.replica if work == "copied" else place.url, content))
    assert left == 6 if work != "pruned" else left >= 2


async def test_two_prunes_and_backups_at_once(place: Place, tmp_path: Path) -> None:
    """Three controllers, each with a store and a clock of its own; nobody waits for anybody."""
    content = await filled(tmp_path, open_store(place.url))
    stores = [open_store(place.url) for _ in range(3)]
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
    assert await assert_whole(tmp_path, place.url, content) == 7
