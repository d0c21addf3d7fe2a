"""One run per environment on one machine."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from novafleet.errors import LockHeldError, NovaFleetError
from novafleet.execute.lock import environment_lock
from tests.unit.execute.world import VirtualClock


async def test_the_second_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with environment_lock(tmp_path, "dev/lab", "r1", clock):
        with pytest.raises(LockHeldError, match=rf"pid {os.getpid()}, run r1, since 1970") as caught:
            async with environment_lock(tmp_path, "dev/lab", "r2", clock):
                pass
        async with environment_lock(tmp_path, "other", "r3", clock):
            pass
    assert (caught.value.code, clock.slept) == ("NF-LOCK-001", [])
    async with environment_lock(tmp_path, "dev/lab", "r2", clock):
        pass


async def test_it_waits_as_long_as_it_may(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with environment_lock(tmp_path, "devlab", "r1", clock):
        with pytest.raises(LockHeldError, match="after waiting 3 s"):
            async with environment_lock(tmp_path, "devlab", "r2", clock, wait=3.0):
                pass
    assert 2.9 < sum(clock.slept) < 3.5


async def test_a_waiter_gets_it_when_it_is_free(tmp_path: Path) -> None:
    clock = VirtualClock()
    entered = asyncio.Event()

    async def wait() -> None:
        async with environment_lock(tmp_path, "devlab", "r2", clock, wait=1e9):
            entered.set()

    async with environment_lock(tmp_path, "devlab", "r1", clock):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not entered.is_set()
    await asyncio.wait_for(waiter, 10)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:

        async def hold() -> None:
            async with environment_lock(tmp_path, "devlab", "r1", VirtualClock()):
                os.write(say, b"held")
                signal.pause()

        asyncio.run(hold())
        os._exit(1)
    assert os.read(hear, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(hear)
    os.close(say)

    async def take() -> None:
        async with environment_lock(tmp_path, "devlab", "r2", VirtualClock()):
            pass

    asyncio.run(take())


async def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NovaFleetError) as caught:
        async with environment_lock(tmp_path / "file", "devlab", "r1", VirtualClock()):
            pass
    assert caught.value.code == "NF-LOCK-005"
