"""Processes that back up to, prune, copy and repair a real repository, killed at random moments; and several at once.

``NOVAFLEET_KILL_ROUNDS`` is how many are killed on each kind of store, ``NOVAFLEET_KILL_SEED`` which moments these are.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from tests.property.repositorychild import SIZE, WORKS, JumpingClock, Place, act, changes, content_of
from tests.unit.repository.disks import BLOCK, CELL, StillClock, fresh, key_file, read_back, snapshot_of

ROOT = Path(__file__).parents[2]
ROUNDS = {"directory": 24, "s3": 6, "nfs": 6}
SEED = os.environ.get("NOVAFLEET_KILL_SEED", "novafleet")
KILLED = -signal.SIGALRM
WHOLE = 60.0
Content = dict[str, dict[int, bytes]]
End = Callable[[str, Place, int, float], int]


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


async def whole(folder: Path, url: str, content: Content) -> tuple[Snapshot, ...]:
    """Clean, and every snapshot there is reads back; all of them. What a killed run committed counts like any other."""
    store = open_store(url)
    repository = await Repository.open(store, key_file(folder))
    done = await check(repository, share=1.0)
    assert done.clean, done.damage
    found = await repository.snapshots()
    fresh_ones = [each for each in found if each.id not in content]
    while fresh_ones:
        known = [each for each in fresh_ones if each.parent in content]
        assert known, f"{fresh_ones} build upon nothing that was ever committed"
        content |= {each.id: content_of(each, content) for each in known}
        fresh_ones = [each for each in fresh_ones if each.id not in content]
    for each in found:
        assert await read_back(await repository.disk(each.disks["vda"])) == content[each.id]
    await store.close()
    assert done.snapshots == len(found)
    return found


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


@dataclass
class Life:
    """A repository whose every user is killed; ``lasts`` is how long a work takes, as far as is known."""

    place: Place
    content: Content
    end: End
    chance: random.Random
    lasts: dict[str, float] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    def round(self) -> None:
        """Something is begun, and killed or not; everything is there, and the next of its kind does what it should."""
        work, seed = self.chance.choice(sorted(WORKS)), self.chance.randrange(1 << 40)
        moment = self.chance.uniform(0.005, self.lasts.setdefault(work, 1.5))
        status = self.end(work, self.place, seed, moment)
        assert status in (0, KILLED), (work, status)
        if status == KILLED:
            self.killed[work] += 1
        else:
            self.lasts[work] = max(moment, 0.03)  # it ends sooner: kill earlier
        if work == "repaired":
            assert self.end(work, self.place, seed, WHOLE) == 0
        before = self.look()
        if work == "ran" and status == KILLED:
            self.next_run(before, seed + 1)

    def look(self) -> tuple[Snapshot, ...]:
        """The repository's snapshots, and its replica's, are all whole."""
        found = asyncio.run(whole(self.place.folder, self.place.url, self.content))
        if asyncio.run(is_there(self.place.replica)):
            asyncio.run(whole(self.place.folder, self.place.replica, self.content))
        return found

    def next_run(self, before: tuple[Snapshot, ...], seed: int) -> None:
        """It is incremental: upon the newest, and it stores no more than was written."""
        assert self.end("ran", self.place, seed, WHOLE) == 0
        [made] = [each for each in self.look() if each not in before]
        assert made.parent == before[-1].id
        written = sum(len(data) for data in changes(int(made.tags[0])).values())
        assert made.disks["vda"].bytes_stored <= written + 2 * CELL


@pytest.mark.timeout(7200)
def test_killed_at_random_moments(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> None:
    kind = request.node.callspec.params["place"]
    rounds = int(os.environ.get("NOVAFLEET_KILL_ROUNDS", ROUNDS[kind]))
    content = asyncio.run(filled(tmp_path, open_store(place.url)))
    life = Life(place, content, forked if kind == "directory" else spawned, random.Random(f"{SEED} {kind}"))
    number = 0
    while life.killed.total() < rounds:
        number += 1
        assert number < 6 * rounds, f"hardly anything is killed: {life.killed}"
        life.round()
    print(f"{kind}, seed {SEED}: {number} rounds, killed {dict(life.killed)}, {len(life.content)} snapshots known")
    for work in WORKS:
        assert life.end(work, place, 1, WHOLE) == 0
        life.look()
    assert set(life.killed) == set(WORKS) or rounds < 20


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
    assert len(await whole(tmp_path, place.url, content)) == 7
