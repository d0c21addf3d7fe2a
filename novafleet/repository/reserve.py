"""Room a repository keeps for the day its disk is full: to delete needs a few small objects first."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from novafleet.errors import SpaceError
from novafleet.ports import ObjectStore

KEY = "reserve"
SIZE = 1 << 20


async def keep(store: ObjectStore) -> None:
    """Take the room, if there is any."""
    with suppress(SpaceError):
        await store.put(KEY, os.urandom(SIZE))  # a file system that compresses must not keep less


@asynccontextmanager
async def released(store: ObjectStore) -> AsyncIterator[None]:
    """The room is there for what frees more, and taken again when that went well; else the next prune takes it."""
    await store.delete(KEY)
    yield
    await keep(store)
