"""Reading gives way to a guest whose disk requests take too long, and never stops for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    until, count = clock.at + seconds, 0
    while clock.at < until:
        await pace.take(1 << 20)
        clock.at += 0.01
        count += 1
    return count


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
