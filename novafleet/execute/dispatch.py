"""Where the shards of a run are carried out (``ports.Dispatcher``): here, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class InProcess:
    """All shards at once on this event loop, each exactly once."""

    async def run(self, run_id: str, shards: int, work: Callable[[int], Awaitable[T]]) -> Sequence[T]:  # noqa: ARG002
        """What each shard's work returned, in order. Raises what the first failing one raised."""
        return await asyncio.gather(*(work(shard) for shard in range(shards)))
