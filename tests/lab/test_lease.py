"""The lease on real hosts: refusal, takeover of a frozen controller, orphans, a lost connection, no residue."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from novafleet.app.wiring import SystemClock
from novafleet.errors import FencedError, LockHeldError, NovaFleetError, UnreachableError
from novafleet.execute.fence import fence
from novafleet.execute.lease import hold_leases
from novafleet.model.command import Command
from novafleet.model.run import NodeState
from novafleet.ports import HostSession
from tests.lab.controller import ENVIRONMENT, LEASE, TTL, WORLD, connected, execute
from tests.labfixture import ROOT, Lab

pytestmark = pytest.mark.lab
PLACES = [("kvm1", "root"), ("kvm1", "ops"), ("kvm2", "root"), ("kvm2", "ops")]
PATIENCE = 30.0
CHANCE = random.SystemRandom()


@pytest.fixture(autouse=True)
def _clean(lab: Lab) -> Iterator[None]:
    yield
    for host in ("kvm1", "kvm2"):
        lab.on(host, "pkill", "-KILL", "-f", WORLD, check=False)
        lab.on(host, "rm", "-f", WORLD, LEASE, LEASE.replace(".lease", ".work"))


def hold(session: HostSession, run: str, *, wait: float = 0.0, ttl: float = TTL):  # type: ignore[no-untyped-def]
    return hold_leases([session], ENVIRONMENT, run, SystemClock(), wait=wait, ttl=ttl)


def world(lab: Lab, host: str) -> list[str]:
    return lab.on(host, "sh", "-c", 'cat "$1" 2>/dev/null', "sh", WORLD, check=False).split("\n")[:-1]


def holders(lab: Lab, host: str) -> list[str]:
    """Processes of the host's side of a lease."""
    return [line for line in lab.on(host, "ps", "-eo", "args").splitlines() if LEASE in line and "sh -c" in line]


class Controller:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def line(self) -> str:
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            text = (await self.process.stdout.readline()).decode().strip()
        self.said.append(text)
        return text

    async def until(self, beginning: str, times: int = 1) -> str:
        """Read on until a line began so for the n-th time."""
        while True:
            text = await self.line()
            assert text, f"it ended: {self.said}"
            times -= text.startswith(beginning)
            if times == 0:
                return text

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@asynccontextmanager
async def controller(host: str, user: str, folder: Path, count: int) -> AsyncIterator[Controller]:
    words = (sys.executable, "-m", "tests.lab.controller", host, user, str(folder), str(count))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdout=pipe, cwd=ROOT)
    try:
        yield Controller(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(("host", "user"), PLACES)
async def test_a_second_run_is_refused_by_name_and_release_leaves_nothing(lab: Lab, host: str, user: str) -> None:
    async with connected(host, user) as first, connected(host, "root") as second:
        async with hold(first, "r1") as held:
            lease = held.leases[host]
            await lease.check()
            with pytest.raises(LockHeldError, match=r"pid \d+, run r1, since ") as caught:
                async with hold(second, "r2"):
                    pass
            assert caught.value.code == "NF-LOCK-003"
            ran = await fence(first, lease).run(Command.script("id -u; exit 7", become=True, mutates=True), check=False)
            assert (ran.status, ran.text) == (7, "0\n")
            assert await fence(first, lease).push(b"x\n", WORLD, become=True)
        assert holders(lab, host) == []
        async with hold(second, "r2") as held:
            assert held.leases[host].epoch == lease.epoch + 1
            with pytest.raises(FencedError):
                await lease.check()
            with pytest.raises(FencedError, match="run r2"):
                await fence(first, lease).run(Command.script("touch $1-stale", WORLD, become=True, mutates=True))
    assert not lab.answers(host, "test", "-e", f"{WORLD}-stale")


async def test_a_second_run_waits_if_it_may(lab: Lab) -> None:
    async with connected("kvm1", "root") as first, connected("kvm1", "root") as second:
        told: asyncio.Queue[LockHeldError] = asyncio.Queue()
        entered = asyncio.Event()

        async def later() -> None:
            clock = SystemClock()
            async with hold_leases([second], ENVIRONMENT, "r2", clock, wait=PATIENCE, waiting=told.put_nowait):
                entered.set()

        async with hold(first, "r1", ttl=60):
            waiter = asyncio.create_task(later())
            assert "run r1" in str(await asyncio.wait_for(told.get(), PATIENCE))
            assert not entered.is_set()
        await asyncio.wait_for(waiter, PATIENCE)
        assert entered.is_set()


@pytest.mark.parametrize(("host", "user"), PLACES)
async def test_a_frozen_controller_is_replaced_and_does_nothing_when_it_wakes(
    lab: Lab, tmp_path: Path, host: str, user: str
) -> None:
    count = 120
    async with controller(host, user, tmp_path, count) as frozen:
        await frozen.until("step_done", CHANCE.randint(1, 60))
        frozen.signal(signal.SIGSTOP)
        async with connected(host, "root") as session, hold(session, "r2", wait=PATIENCE) as held:
            before = world(lab, host)
            copied = shutil.copytree(tmp_path, tmp_path / "copy")  # it may have stopped inside a commit
            results = await execute(session, held.leases[host], copied, count, lambda _event: None)
            assert {result.state for result in results} == {NodeState.DONE}
            frozen.signal(signal.SIGCONT)
            while await frozen.line():
                pass
            await held.leases[host].check()
    after = world(lab, host)
    assert after[: len(before)] == before
    assert sorted(after) == sorted(f"vm.{n}" for n in range(count))
    assert holders(lab, host) == []
    assert any("no longer ours" in line for line in frozen.said), frozen.said[-9:]
    assert "ended" in frozen.said


@pytest.mark.parametrize(("host", "user"), PLACES)
async def test_a_killed_controller_is_replaced_at_once(lab: Lab, tmp_path: Path, host: str, user: str) -> None:
    count = 80
    for _ in range(3):
        async with controller(host, user, tmp_path, count) as killed:
            await killed.until("step_started", CHANCE.randint(1, 20))
            killed.signal(signal.SIGKILL)
    async with connected(host, user) as session, hold(session, "r2", wait=PATIENCE) as held:
        await execute(session, held.leases[host], tmp_path, count, lambda _event: None)
    assert sorted(world(lab, host)) == sorted(f"vm.{n}" for n in range(count))


@pytest.mark.parametrize(("seconds", "left"), [("2", ["late", "next"]), ("600", ["next"])])
async def test_an_orphaned_command_is_waited_for_then_killed(lab: Lab, seconds: str, left: list[str]) -> None:
    """kill -9 of a controller does not end a silent remote command: its connection goes, the command stays."""
    slow = Command.script('touch "$1"; sleep "$2"; echo late >> "$1"', WORLD, seconds, mutates=True)
    async with connected("kvm2", "root") as second, connected("kvm2", "root") as first, hold(first, "r1") as held:
        running = asyncio.create_task(fence(first, held.leases["kvm2"]).run(slow))
        await until_exists(lab, "kvm2", WORLD)
        lab.on("kvm2", "sh", "-c", CUT_SSHD, "sh", LEASE)
        async with hold(second, "r2", wait=PATIENCE) as taken:
            append = Command.script('echo next >> "$1"', WORLD, mutates=True)
            await fence(second, taken.leases["kvm2"]).run(append)
            assert world(lab, "kvm2") == left
        with pytest.raises((NovaFleetError, ExceptionGroup)):
            await running


async def until_exists(lab: Lab, host: str, path: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(lab.answers, host, "test", "-e", path):
            pass


CUT_SSHD = """
sed -n 2p "$1" | { read -r _ sshd _; kill -KILL "$sshd" $(pgrep -P "$sshd" sshd); }
"""
"""Ends sshd's processes of the lease holder's connection, and nothing they started: a network that broke."""


@pytest.mark.parametrize(("host", "user"), PLACES)
async def test_a_lost_connection_takes_the_same_lease_up_again(lab: Lab, host: str, user: str) -> None:
    async with connected(host, user) as session, hold(session, "r1", ttl=60) as held:
        lease = held.leases[host]
        epoch = lease.epoch
        lab.on(host, "sh", "-c", CUT_SSHD, "sh", LEASE)
        append = Command.script('echo again >> "$1"', WORLD, become=True, mutates=True)
        await until_it_runs(fence(session, lease), append)
        assert (lease.epoch, world(lab, host)) == (epoch, ["again"])
        await lease.confirm()
        assert holders(lab, host)
    assert holders(lab, host) == []


async def until_it_runs(session: HostSession, command: Command) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await session.run(command)
            except UnreachableError:
                continue
            return
