"""The way to a host's libvirt: the probe's answers, the local socket, the relay as root, the explicit fallback."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from novafleet.errors import ChannelError, ConfigError, HypervisorError, Location
from novafleet.hypervisor.dial import Dialer, Direct, Forward, ssh_uri
from novafleet.hypervisor.relay import Relay
from novafleet.model.command import Command, Completed
from novafleet.model.fleet import Become, Host
from tests.fakes.processes import OneSession, ProcessSession, SocketChannel
from tests.unit.hypervisor.test_session import echo

HOST = Host("kvm1", "192.0.2.1")


class Told(ProcessSession):
    """A session whose probe says what the test wants."""

    def __init__(self, host: Host, *answers: str) -> None:
        super().__init__(host)
        self._answers = list(answers)

    async def run(self, command: Command, **_: object) -> Completed:  # type: ignore[override]
        return Completed(command.argv, 0, self._answers.pop(0).encode(), b"")


def dialer(host: Host, *answers: str) -> Dialer:
    return Dialer(OneSession(Told(host, *answers)), host)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("stopped libvirtd\n", "NF-LV-101", "libvirtd is not running on kvm1"),
        ("stopped virtqemud\n", "NF-LV-101", "virtqemud is not running on kvm1"),
        ("absent\n", "NF-LV-101", "libvirtd is not installed on kvm1"),
        ("", "NF-LV-101", "libvirtd is not installed on kvm1"),
        ("denied /run/libvirt/libvirt-sock\n", "NF-LV-102", "the login user may not use libvirt on kvm1"),
    ],
)
async def test_what_the_probe_says_becomes_a_finding_with_its_fix(answer: str, code: str, words: str) -> None:
    with pytest.raises(HypervisorError) as caught:
        await dialer(HOST, answer)()
    assert (caught.value.code, caught.value.what, caught.value.where) == (code, words, "kvm1")
    assert "# on kvm1" in caught.value.hints[0]
    assert caught.value.retry.value == "after_fix"


async def test_the_modular_daemon_is_preferred_and_the_next_socket_tried(tmp_path: Path) -> None:
    answer = f"open {tmp_path}/none\nopen {tmp_path}/lv\n"
    async with echo(tmp_path / "lv"):
        line = await dialer(HOST, answer)()
        reader, writer = await asyncio.open_unix_connection(local(line.uri))
        writer.write(b"hello")
        assert await reader.read(5) == b"hello"
        await line.close()
        assert await reader.read() == b""
        writer.close()


async def test_become_is_used_only_where_it_is_needed_and_allowed() -> None:
    assert not dialer(HOST).elevate()
    allowed = dialer(Host("kvm1", "192.0.2.1", become=Become(True)))
    assert allowed.elevate()
    assert not allowed.elevate(), "root was refused too: there is nothing more to try"


def local(uri: str) -> str:
    """The socket in a libvirt URI."""
    return parse_qs(urlsplit(uri).query)["socket"][0]


async def test_the_local_socket_is_private_and_gone_once_connected(tmp_path: Path) -> None:
    async with echo(tmp_path / "lv"):
        forward = await Forward.listen(SocketChannel(*await asyncio.open_unix_connection(tmp_path / "lv")))
        path = Path(local(forward.uri))
        assert mode(path.parent) == 0o700
        reader, writer = await asyncio.open_unix_connection(path)
        payload = os.urandom(1 << 20)
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
        assert mode(path.parent) is None
        await forward.close()
        assert forward.ended.result() == ""
        writer.close()


async def test_the_line_ends_when_the_far_side_does(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    forward = await Forward.listen(SocketChannel(*await asyncio.open_unix_connection(sock=near)))
    reader, writer = await asyncio.open_unix_connection(local(forward.uri))
    far.close()
    async with asyncio.timeout(5.0):
        assert await reader.read() == b""
        await forward.ended
    writer.close()


async def test_a_temporary_directory_too_deep_for_a_socket_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    near, far = socket.socketpair()
    with pytest.raises(HypervisorError) as caught:
        await Forward.listen(SocketChannel(*await asyncio.open_unix_connection(sock=near)))
    assert caught.value.code == "NF-LV-106"
    assert list(deep.iterdir()) == []
    far.close()


def mode(path: Path) -> int | None:
    """Permission bits, None for what does not exist."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


@pytest.mark.skipif(not (shutil.which("socat") or shutil.which("nc")), reason="neither socat nor nc is installed")
async def test_the_relay_carries_bytes_and_its_end(tmp_path: Path) -> None:
    if shutil.which("virt-ssh-helper"):
        pytest.skip("virt-ssh-helper would reach this machine's own libvirt")
    session = ProcessSession(HOST)
    async with echo(tmp_path / "lv"):
        relay = Relay(session, str(tmp_path / "lv"))
        await relay.write(b"x" * 100_000)
        got = b""
        while len(got) < 100_000:
            got += await relay.read(4096)
        assert session.commands[0].become
        await relay.close()
        assert await relay.read() == b""


@pytest.mark.skipif(bool(shutil.which("virt-ssh-helper")), reason="would reach this machine's own libvirt")
async def test_a_relay_that_fails_says_why(tmp_path: Path) -> None:
    relay = Relay(ProcessSession(HOST), str(tmp_path / "none"))
    with pytest.raises(ChannelError, match="none"):
        async with asyncio.timeout(10.0):
            await relay.read()
    with pytest.raises(ChannelError):
        await relay.write(b"x")
    await relay.close()


async def test_qemu_ssh_is_an_explicit_choice_of_a_host() -> None:
    host = Host("kvm1", "kvm1.example", port=2222, user="a b", key="/k e/y", vars={"libvirt": "qemu+ssh"})
    line = await dialer(host)()
    assert isinstance(line, Direct)
    assert line.uri == ssh_uri(host)
    parts = urlsplit(line.uri)
    assert (parts.scheme, parts.netloc, parts.path) == ("qemu+ssh", "a%20b@kvm1.example:2222", "/system")
    assert parse_qs(parts.query) == {"no_tty": ["1"], "keyfile": ["/k e/y"]}


async def test_another_word_for_the_transport_is_a_config_error_at_its_line() -> None:
    host = Host("kvm1", "h", vars={"libvirt": "tls"}, origins={"vars.libvirt": (Location("inv.yml", 7),)})
    with pytest.raises(ConfigError) as caught:
        await dialer(host)()
    assert (caught.value.code, str(caught.value.where)) == ("NF-LV-105", "inv.yml:7")
