"""The lease on this machine (no SSH): its scripts run for real. Takeovers need hosts: tests/lab/test_lease.py."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from novafleet.app.wiring import SystemClock
from novafleet.errors import CommandError, FencedError, LockHeldError, NovaFleetError
from novafleet.execute.fence import FencedSessions, fence, fence_hypervisor
from novafleet.execute.lease import DIRECTORY, HostLease, hold_leases
from novafleet.model.command import Command
from novafleet.ports import HostSession, Hypervisor
from tests.localsession import local_session

WRITE = Command.script('cat >> "$1"; id -un', "world", mutates=True)


@pytest.fixture
def environment() -> Iterator[str]:
    if os.geteuid() != 0 or shutil.which("flock") is None:
        pytest.skip("a lease is root's, held with flock(1)")
    name = f"unit-{secrets.token_hex(4)}"
    yield name
    for suffix in ("lease", "work"):
        Path(f"{DIRECTORY}/{name}.{suffix}").unlink(missing_ok=True)


@pytest.fixture
def session(tmp_path: Path) -> HostSession:
    return local_session(tmp_path, user="root")


def lease_file(environment: str) -> Path:
    return Path(f"{DIRECTORY}/{environment}.lease")


def hold(session: HostSession, environment: str, run: str = "r1", wait: float = 0.0):  # type: ignore[no-untyped-def]
    return hold_leases([session], environment, run, SystemClock(), wait=wait)


async def test_epochs_grow_and_the_file_names_the_holder(session: HostSession, environment: str) -> None:
    for epoch in (1, 2):
        async with hold(session, environment) as held:
            lease = held.leases["local"]
            assert lease.epoch == epoch
            grant, process, holder = lease_file(environment).read_text().splitlines()
            assert grant.split()[0] == str(epoch)
            assert f"(pid {os.getpid()}, run r1, since " in holder
            await lease.check()
        assert lease_file(environment).read_text() == f"{epoch} released\n"
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.split()[0]), 0)


async def test_a_held_lease_is_refused_by_name(session: HostSession, environment: str) -> None:
    async with hold(session, environment):
        with pytest.raises(LockHeldError, match="run r1, since") as caught:
            async with hold(session, environment, "r2"):
                pass
    assert (caught.value.code, caught.value.where) == ("NF-LOCK-003", "local")


async def test_a_fenced_command_is_the_command(session: HostSession, environment: str, tmp_path: Path) -> None:
    async with hold(session, environment) as held:
        fenced = fence(session, held.leases["local"])
        done = await fenced.run(WRITE, stdin=b"words")
        assert (done.argv, done.text, (tmp_path / "world").read_text()) == (WRITE.argv, "root\n", "words")
        assert (await fenced.run(Command(("cat", "world")))).text == "words"
        with pytest.raises(CommandError, match="echo no >&2; exit 121` ended with status 121") as caught:
            await fenced.run(Command.script("echo no >&2; exit 121", mutates=True))
        assert caught.value.stderr == "no\n"
        async with fenced.stream(Command.script("echo live; exit 5", mutates=True)) as running:
            assert [piece.data async for piece in running] == [b"live\n"]
            assert await running.status() == 5
        path = str(tmp_path / "pushed")
        assert await fenced.push(b"x", path, mode=0o600)
        assert not await fenced.push(b"x", path, mode=0o600)


async def test_nothing_runs_once_the_lease_is_somebody_elses(
    session: HostSession, environment: str, tmp_path: Path
) -> None:
    async with hold(session, environment) as held:
        lease = held.leases["local"]
        fenced = fence(session, lease)
        lease_file(environment).write_text("9 feed\n1 1 1 15\nada@desk\n")
        with pytest.raises(FencedError, match="taken over by ada@desk"):
            await fenced.run(WRITE)
        with pytest.raises(FencedError):
            await lease.ensure()
        with pytest.raises(FencedError):
            await fenced.push(b"x", str(tmp_path / "pushed"))
        with pytest.raises(FencedError):
            await fence_hypervisor(Machine(), lease).start_domain("db")  # type: ignore[arg-type]
        assert await fence_hypervisor(Machine(), lease).version() == (1, 2)  # type: ignore[arg-type]
        assert not list((await session.run(Command(("ls", "-A")))).text)
    assert lease_file(environment).read_text() == "1 released\n"


class Machine:
    """A hypervisor that must not be changed."""

    async def version(self) -> tuple[int, int]:
        return (1, 2)

    async def start_domain(self, name: str) -> None:
        raise AssertionError(name)


async def test_the_same_lease_is_taken_up_again_after_its_channel_was_lost(
    session: HostSession, environment: str
) -> None:
    async with hold(session, environment) as held:
        lease = held.leases["local"]
        before = lease_file(environment).read_text().splitlines()
        os.kill(int(before[1].split()[0]), signal.SIGKILL)
        await _lost(lease)
        await fence(session, lease).run(WRITE)
        after = lease_file(environment).read_text().splitlines()
        assert (lease.epoch, after[0]) == (1, before[0])
        assert after[1] != before[1]
        await lease.confirm()


async def test_a_lost_lease_that_somebody_else_took_is_not_taken_back(session: HostSession, environment: str) -> None:
    async with hold(session, environment) as held:
        lease = held.leases["local"]
        os.kill(int(lease_file(environment).read_text().split()[2]), signal.SIGKILL)
        await _lost(lease)
        async with hold(session, environment, "r2"):
            for _ in range(2):
                with pytest.raises(FencedError, match="run r2"):
                    await fence(session, lease).run(WRITE)


async def _lost(lease: HostLease) -> None:
    assert lease._holding is not None
    await lease._holding


async def test_sessions_are_fenced_while_leases_are_held(session: HostSession, environment: str) -> None:
    class Pool:
        async def get(self, host: object) -> HostSession:
            return session

        async def drop(self, host: object) -> None:
            raise AssertionError

    sessions = FencedSessions(Pool())
    assert await sessions.get(session.host) is session
    async with hold(session, environment) as held:
        sessions.leases = held.leases
        assert await sessions.get(session.host) is not session


async def test_a_directory_that_is_not_roots_is_refused(
    session: HostSession, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    monkeypatch.setattr("novafleet.execute.lease.DIRECTORY", str(tmp_path / "elsewhere"))
    async with hold(session, environment) as held:
        assert not held.leases
        error = held.failed["local"]
    assert isinstance(error, NovaFleetError)
    assert (error.code, "does not belong to root" in error.cause) == ("NF-LOCK-004", True)


def test_reads_are_methods_of_the_port() -> None:
    from novafleet.execute.fence import READS

    assert set(dir(Hypervisor)) >= READS
