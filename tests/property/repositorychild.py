"""Work on a repository, to be killed at any moment: by a test's fork, or as a process of its own.

``python -m tests.property.repositorychild WORK URL REPLICA FOLDER SEED SECONDS``; a timer ends it after that long.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from novafleet.app.retention import collect_rounds
from novafleet.model.backup import Snapshot
from novafleet.objectstore.open import open_store
from novafleet.repository import Repository, pack, pipeline, trash
from novafleet.repository.collected import Rules
from novafleet.repository.repair import repair
from novafleet.repository.replicate import replicate
from tests.unit.repository.disks import BLOCK, CELL, StillClock, key_file, snapshot_of

SIZE = 32 * BLOCK
AT_ONCE = Rules(grace=0.0, stale_after=0.0)
"""Whoever was killed is fenced by the next; nobody else runs."""


class JumpingClock(StillClock):
    """A controller's clock that is a day off, one way or the other, at every look."""

    def now(self) -> float:
        return super().now() + random.choice((-86400.0, 0.0, 86400.0))


@dataclass(frozen=True)
class Place:
    """Where a repository is, where its replica, and the folder of its key."""

    url: str
    replica: str
    folder: Path


Work = Callable[[Place, random.Random], Awaitable[None]]


def changes(seed: int) -> dict[int, bytes]:
    """What a guest wrote before the run of this seed: blocks by number, some of them zero."""
    chance = random.Random(seed)
    numbers = chance.sample(range(SIZE // BLOCK), chance.randrange(4, 17))
    return {number: chance.randbytes(BLOCK) if chance.random() < 0.8 else bytes(BLOCK) for number in numbers}


async def ran(place: Place, chance: random.Random) -> None:
    """An incremental backup upon the newest snapshot; its tag says which changes it holds, its disk what it stored."""
    store = open_store(place.url)
    repository = await Repository.open(store, key_file(place.folder))
    parent, seed = (await repository.snapshots())[-1], chance.randrange(1 << 40)
    async with repository.backup(JumpingClock()) as backup:
        disk = await backup.disk(SIZE, parent.disks["vda"])
        for number, data in sorted(changes(seed).items()):
            await disk.data(number * BLOCK, data)
        root, stored = await disk.finish(SIZE)
        made = snapshot_of(root, SIZE, parent=parent.id)
        disks = {"vda": replace(made.disks["vda"], bytes_stored=stored)}
        await backup.commit(replace(made, disks=disks, tags=(str(seed),)))
    await store.close()


def content_of(made: Snapshot, known: dict[str, dict[int, bytes]]) -> dict[int, bytes]:
    """What a snapshot of ``ran`` must read back as."""
    content = known[made.parent] | changes(int(made.tags[0]))
    return {number: data for number, data in content.items() if any(data)}


async def pruned(place: Place, chance: random.Random) -> None:
    """One is forgotten, some come back, and what nobody needs goes."""
    store = open_store(place.url)
    repository = await Repository.open(store, key_file(place.folder))
    found = await repository.snapshots()
    if len(found) > 2:
        await trash.forget(store, JumpingClock(), [chance.choice(found).id])
    for each in await trash.trashed(store):
        if chance.random() < 0.3:
            await trash.undo(store, JumpingClock(), each.snapshot)
    await collect_rounds(repository, JumpingClock(), AT_ONCE)
    await store.close()


async def repaired(place: Place, chance: random.Random) -> None:
    """Loses its index every other time; packs are never damaged, so that nothing may ever be lost."""
    store = open_store(place.url)
    if chance.random() < 0.5:
        for each in [found async for found in store.list("index/")]:
            await store.delete(each.key)
    repository = await Repository.open(store, key_file(place.folder))
    await repair(repository, JumpingClock(), read_data=True)
    await store.close()


async def copied(place: Place, chance: random.Random) -> None:
    """The replica is brought up to date."""
    source, target = open_store(place.url), open_store(place.replica)
    await replicate(source, target, JumpingClock(), delete=chance.random() < 0.5)
    await source.close()
    await target.close()


WORKS: dict[str, Work] = {"ran": ran, "pruned": pruned, "repaired": repaired, "copied": copied}


def act(work: str, place: Place, seed: int, after: float) -> None:
    """Do it in this process, in small packs, which SIGALRM ends without any ado."""
    pack.TARGET, pipeline.SEGMENT = 2 * CELL, 4
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after)
    asyncio.run(WORKS[work](place, random.Random(seed)))


if __name__ == "__main__":
    _, name, url, replica, folder, seed, seconds = sys.argv
    act(name, Place(url, replica, Path(folder)), int(seed), float(seconds))
    os._exit(0)
