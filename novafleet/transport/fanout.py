"""One piece of work on many hosts: bounded, and a host that fails stops only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from novafleet.model.fleet import Host

T = TypeVar("T")


async def fan_out(hosts: Sequence[Host], work: Callable[[Host], Awaitable[T]], *, forks: int) -> tuple[T, ...]:
    """Results in host order; at most ``forks`` hosts are worked on at once. ``work`` answers for its own errors."""
    places = asyncio.Semaphore(forks)

    async def one(host: Host) -> T:
        async with places:
            return await work(host)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(host)) for host in hosts]
    return tuple(task.result() for task in tasks)
