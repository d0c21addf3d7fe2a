"""Worker threads, deadlines, lost connections: the session over real libvirt clients and sockets that misbehave."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from novafleet.errors import DeadlineError, HypervisorError, NovaFleetError
from novafleet.hypervisor.connect import Connections
from novafleet.hypervisor.dial import Dialer
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.hypervisor.session import Handle, Session
from novafleet.model.fleet import Host
from tests.contract.hypervisors import TestDriver
from tests.fakes.processes import OneSession, ProcessSession, silent_socket

HOST = Host("kvm1", "192.0.2.1")


def workers(host: str = "kvm1") -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"libvirt-{host}-")]


async def until(condition: object, seconds: float = 5.0) -> None:
    """Wait for a callable to be true."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - threads end without telling asyncio
            await asyncio.sleep(0.005)


def at(path: Path, deadline: float = 30.0) -> Session:
    """A session to a socket of this machine."""
    return Session("kvm1", Dialer(OneSession(ProcessSession(HOST)), HOST, (str(path),)), deadline=deadline)


async def test_a_call_that_is_never_answered_ends_in_time_and_its_thread_too(tmp_path: Path) -> None:
    async with silent_socket(tmp_path / "lv"):
        session = at(tmp_path / "lv", deadline=0.3)
        began = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            await LibvirtHypervisor(session).version()
        assert time.monotonic() - began < 2.0
        assert caught.value.code == "NF-LV-110"
        assert caught.value.where == "kvm1"
        assert "0.3 s" in caught.value.what
        await until(lambda: not workers())
        with pytest.raises(DeadlineError):  # the next call dials anew
            await session.connected()
        await session.close()
        await until(lambda: not workers())


async def test_a_cancelled_call_leaves_nothing_after_close(tmp_path: Path) -> None:
    async with silent_socket(tmp_path / "lv"):
        session = at(tmp_path / "lv")
        calls = [asyncio.create_task(LibvirtHypervisor(session).version()) for _ in range(3)]
        await until(workers)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await session.close()
        await until(lambda: not workers())


async def test_a_socket_that_closes_is_a_lost_connection(tmp_path: Path) -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(slam, tmp_path / "lv"):
        with pytest.raises(HypervisorError) as caught:
            await LibvirtHypervisor(at(tmp_path / "lv")).version()
    assert (caught.value.code, caught.value.retry.value) == ("NF-LV-103", "later")
    await until(lambda: not workers())


async def test_a_socket_nobody_serves_is_said_to_be_so(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "lv"))
    dead.close()
    with pytest.raises(HypervisorError) as caught:
        await LibvirtHypervisor(at(tmp_path / "lv")).version()
    assert caught.value.code == "NF-LV-104"
    assert str(tmp_path / "lv") in caught.value.what


async def test_without_a_socket_the_daemon_is_stopped_or_not_installed(tmp_path: Path) -> None:
    with pytest.raises(HypervisorError) as caught:
        await LibvirtHypervisor(at(tmp_path / "none")).version()
    assert caught.value.code == "NF-LV-101"
    assert caught.value.hints


async def test_get_dials_nothing_and_the_first_call_does(tmp_path: Path) -> None:
    sessions = OneSession(ProcessSession(HOST))
    async with Connections(sessions) as hypervisors:
        hypervisor = await hypervisors.get(HOST)
        assert await hypervisors.get(HOST) is hypervisor
        assert sessions.asked == 0
        with pytest.raises(NovaFleetError):
            await hypervisor.version()
        assert sessions.asked == 1


async def test_callers_share_one_attempt_to_connect() -> None:
    dial = TestDriver()
    hypervisor = LibvirtHypervisor(Session("kvm1", dial))
    answers = await asyncio.gather(*(hypervisor.version() for _ in range(20)))
    assert len(set(answers)) == 1
    assert dial.dialled == 1
    assert len(workers()) <= 4
    await hypervisor.close()
    await until(lambda: not workers())


async def test_a_lost_connection_is_made_again() -> None:
    dial = TestDriver()
    session = Session("kvm1", dial)
    hypervisor = LibvirtHypervisor(session)
    await hypervisor.version()
    link = await session.connected()
    await link.hang_up()
    with pytest.raises(HypervisorError) as caught:
        await link.run("try", lambda handle: None)
    assert caught.value.code == "NF-LV-103"
    assert await hypervisor.version()
    assert dial.dialled == 2
    await hypervisor.close()


async def test_events_end_with_the_connection() -> None:
    session = Session("kvm1", TestDriver())
    async with LibvirtHypervisor(session).events() as events:
        await (await session.connected()).hang_up()
        with pytest.raises(HypervisorError) as caught:
            async with asyncio.timeout(5.0):
                await anext(events)
        assert caught.value.code == "NF-LV-103"
    await session.close()


async def test_at_most_four_calls_of_a_host_run_at_once_and_the_loop_goes_on() -> None:
    session = Session("kvm1", TestDriver())
    gate, inside, most = threading.Event(), [], []

    def slow(handle: Handle) -> str:
        inside.append(1)
        most.append(len(inside))
        assert gate.wait(10.0)
        inside.pop()
        return threading.current_thread().name

    await session.connected()
    calls = [asyncio.create_task(session.call("wait", slow)) for _ in range(10)]
    await until(lambda: len(inside) == 4)
    gate.set()
    names = await asyncio.gather(*calls)
    assert max(most) == 4
    assert {name.rsplit("-", 1)[0] for name in names} == {"libvirt-kvm1"}
    await session.close()


async def test_libvirt_on_the_event_loop_is_a_bug_that_is_told() -> None:
    session = Session("kvm1", TestDriver())
    handle = await session.call("take the handle", lambda handle: handle)
    with pytest.raises(NovaFleetError, match="event loop"):
        _ = handle.connection
    await session.close()


async def test_an_error_of_our_own_in_a_worker_reaches_the_caller() -> None:
    session = Session("kvm1", TestDriver())

    def broken(handle: Handle) -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        await session.call("divide", broken)
    await session.close()


HUNG_AT_EXIT = """
import asyncio, socket, sys
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.hypervisor.session import Session
from novafleet.hypervisor.dial import Direct

class Dial:
    async def __call__(self):
        return Direct("qemu+unix:///system?socket=" + sys.argv[1])
    def elevate(self):
        return False

async def main():
    try:
        await LibvirtHypervisor(Session("kvm1", Dial(), deadline=0.2)).version()
    except Exception as error:
        print(error.code)

asyncio.run(main())
"""


async def test_a_call_that_cannot_be_freed_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    async with silent_socket(tmp_path / "lv"):
        command = (sys.executable, "-c", HUNG_AT_EXIT, str(tmp_path / "lv"))
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        async with asyncio.timeout(30.0):
            out, err = await process.communicate()
    assert (out, err, process.returncode) == (b"NF-LV-110\n", b"", 0)


async def test_libvirt_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    hypervisor = LibvirtHypervisor(Session("kvm1", TestDriver()))
    with pytest.raises(NovaFleetError):
        await hypervisor.domain("nobody")
    with pytest.raises(NovaFleetError):
        await LibvirtHypervisor(Session("kvm1", TestDriver("nonsense:///x"))).version()
    await hypervisor.close()
    assert capfd.readouterr() == ("", "")


@asynccontextmanager
async def echo(path: Path) -> AsyncIterator[None]:
    """A UNIX socket that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield
