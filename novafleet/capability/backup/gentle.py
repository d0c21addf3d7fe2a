"""Reading that gives way to the guest: while its own disk requests take too long, it pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from novafleet.capability.backup.read import Pace
from novafleet.errors import NovaFleetError
from novafleet.model.snapshot import DiskLoad
from novafleet.ports import Clock

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks while all is well: reading always goes on for that long."""
LEAST, MOST = 0.5, 8.0
"""Seconds of a pause: each that did not help is followed by one twice as long."""

Loads = Callable[[], Awaitable[Mapping[str, DiskLoad]]]


class Gentle(Pace):
    """``shared`` bounds what all VMs of a run read together; ``latency`` is the seconds a request of this guest may
    take on average between two looks, by disk."""

    def __init__(self, clock: Clock, shared: Pace, loads: Loads, latency: float) -> None:
        super().__init__(clock, 0)
        self.paused = 0.0
        """Seconds in which nothing was read for the guest's sake."""
        self._shared = shared
        self._loads = loads
        self._latency = latency
        self._turn = asyncio.Lock()
        self._before: Mapping[str, DiskLoad] = {}
        self._next = 0.0
        self._pause = LEAST

    async def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may be read. While libvirt does not answer, the guest counts as well."""
        if not self._latency:
            await self._shared.take(count)
            return
        async with self._turn:  # one at a time: who has got a share of what is read together does not pause with it
            if self._clock.monotonic() >= self._next:
                await self._look()
            await self._shared.take(count)

    async def _look(self) -> None:
        if await self._over():
            self.paused += self._pause
            await self._clock.sleep(self._pause)
            self._pause = min(MOST, self._pause * 2)
        else:
            self._pause = max(LEAST, self._pause / 2)
        self._next = self._clock.monotonic() + LOOK

    async def _over(self) -> bool:
        before = self._before
        try:
            now = self._before = await self._loads()
        except NovaFleetError as error:  # libvirt is restarted, or the connection lost: reading itself will say so
            log.info("how the guest's disks do is unknown: %s", error)
            return False
        return any(latency(before[disk], load) > self._latency for disk, load in now.items() if disk in before)


def latency(before: DiskLoad, now: DiskLoad) -> float:
    """Seconds a request took between two looks; 0 when there was none."""
    requests = now.requests - before.requests
    return (now.seconds - before.seconds) / requests if requests > 0 else 0.0
