"""Reading gives way to a guest whose disk requests take too long, and never stops for good."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, pairwise

import pytest

from novafleet.capability.backup.gentle import LOOK, MOST, Gentle, latency
from novafleet.capability.backup.read import Pace
from novafleet.errors import HypervisorError
from novafleet.model.snapshot import DiskLoad


@dataclass
class Clock:
    at: float = 100.0
    slept: float = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.at += seconds


class Disk:
    """A guest's disk whose requests take so long now."""

    def __init__(self) -> None:
        self.seconds = 0.001
        self.requests = 0
        self.total = 0.0

    async def loads(self) -> Mapping[str, DiskLoad]:
        self.requests += 10
        self.total += 10 * self.seconds
        return {"vda": DiskLoad(self.requests, self.total), "vdb": DiskLoad(0, 0.0)}


async def read(pace: Gentle, clock: Clock, seconds: float) -> int:
    """How many reads get through in a time, one each 10 ms."""
    until, reads = clock.at + seconds, 0
    while clock.at < until:
        await pace.take(1 << 20)
        clock.at += 0.01
        reads += 1
    return reads


async def test_it_pauses_while_the_guest_suffers() -> None:
    clock, disk = Clock(), Disk()
    pace = Gentle(clock, Pace(clock, 0), disk.loads, 0.02)
    calm = await read(pace, clock, 10)
    assert pace.paused == 0
    disk.seconds = 0.2
    slow = await read(pace, clock, 60)
    assert slow < calm * 6 / 5
    assert 40 < pace.paused == clock.slept
    assert slow >= 60 / (MOST + LOOK) * LOOK / 0.01 / 2  # it goes on all the same
    disk.seconds, before = 0.001, pace.paused
    assert await read(pace, clock, 30) > calm * 2
    assert pace.paused - before <= MOST


class Time(Clock):
    """Passes for many who sleep at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.number = count()

    async def sleep(self, seconds: float) -> None:
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.at + seconds, next(self.number), awake))
        await awake

    async def pass_until(self, at: float) -> None:
        while self.sleepers and self.sleepers[0][0] <= at:
            self.at, _, awake = heapq.heappop(self.sleepers)
            awake.set_result(None)
            for _ in range(100):  # whoever that wakes goes on until it sleeps
                await asyncio.sleep(0)


async def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    """Sixteen reads are under way at once, at 4 MiB a second in all; what was not read in a pause is not due then."""
    time, disk = Time(), Disk()
    pace, got = Gentle(time, Pace(time, 4 << 20), disk.loads, 0.02), list[float]()

    async def reader() -> None:
        while True:
            await pace.take(1 << 20)
            got.append(time.at)
            await time.sleep(0.01)

    disk.seconds = 0.2
    readers = [asyncio.create_task(reader()) for _ in range(16)]
    await asyncio.sleep(0)
    await time.pass_until(160.0)
    for each in readers:
        each.cancel()
    assert pace.paused > 30
    assert len(got) <= (60 - pace.paused) * 4 + 20
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(got[2:]))


async def test_without_a_limit_nobody_is_asked() -> None:
    clock = Clock()

    async def loads() -> Mapping[str, DiskLoad]:
        raise AssertionError

    assert await read(Gentle(clock, Pace(clock, 0), loads, 0.0), clock, 1) == pytest.approx(100, abs=2)


def test_what_a_request_took() -> None:
    assert latency(DiskLoad(10, 1.0), DiskLoad(20, 2.0)) == pytest.approx(0.1)
    assert latency(DiskLoad(10, 1.0), DiskLoad(10, 1.0)) == 0
    assert latency(DiskLoad(10, 1.0), DiskLoad(0, 0.0)) == 0  # it was restarted


async def test_a_libvirt_that_does_not_answer_stops_nothing() -> None:
    clock = Clock()

    async def loads() -> Mapping[str, DiskLoad]:
        raise HypervisorError("gone")

    assert await read(Gentle(clock, Pace(clock, 0), loads, 0.02), clock, 1) == pytest.approx(100, abs=2)
