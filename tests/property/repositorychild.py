"""Maintenance of a repository, to be killed at any moment: by a test's fork, or as a process of its own.

``python -m tests.property.repositorychild WORK URL REPLICA FOLDER SEED SECONDS``; a timer ends it after that long.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.retention import collect_rounds
from novafleet.objectstore.open import open_store
from novafleet.repository import Repository, trash
from novafleet.repository.collected import Rules
from novafleet.repository.repair import repair
from novafleet.repository.replicate import replicate
from tests.unit.repository.disks import StillClock, key_file

AT_ONCE = Rules(grace=0.0, stale_after=0.0)
"""Whoever was killed is fenced by the next; nobody else runs."""


@dataclass(frozen=True)
class Place:
    """Where a repository is, where its replica, and the folder of its key."""

    url: str
    replica: str
    folder: Path


Work = Callable[[Place, random.Random], Awaitable[None]]


async def pruned(place: Place, chance: random.Random) -> None:
    store = open_store(place.url)
    repository = await Repository.open(store, key_file(place.folder))
    found = await repository.snapshots()
    if len(found) > 2:
        await trash.forget(store, StillClock(), [chance.choice(found).id])
    for each in await trash.trashed(store):
        if chance.random() < 0.3:
            await trash.undo(store, StillClock(), each.snapshot)
    await collect_rounds(repository, StillClock(), AT_ONCE)
    await store.close()


async def repaired(place: Place, chance: random.Random) -> None:
    """Loses its index every other time; packs are never damaged, so that nothing may ever be lost."""
    store = open_store(place.url)
    if chance.random() < 0.5:
        for each in [found async for found in store.list("index/")]:
            await store.delete(each.key)
    repository = await Repository.open(store, key_file(place.folder))
    await repair(repository, StillClock(), read_data=True)
    await store.close()


async def copied(place: Place, chance: random.Random) -> None:
    source, target = open_store(place.url), open_store(place.replica)
    await replicate(source, target, StillClock(), delete=chance.random() < 0.5)
    await source.close()
    await target.close()


WORKS: dict[str, Work] = {"pruned": pruned, "repaired": repaired, "copied": copied}


def act(work: str, place: Place, seed: int, after: float) -> None:
    """Do it in this process, which SIGALRM ends without any ado."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after)
    asyncio.run(WORKS[work](place, random.Random(seed)))


if __name__ == "__main__":
    _, name, url, replica, folder, seed, seconds = sys.argv
    act(name, Place(url, replica, Path(folder)), int(seed), float(seconds))
    os._exit(0)
