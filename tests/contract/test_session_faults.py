"""Servers that refuse, drop, lie or fall silent: a clear error or a way around, and never a hang."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.errors import AuthError, ChannelError, DeadlineError, NovaFleetError, TrustError, UnreachableError
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet, Host, TrustPolicy
from novafleet.model.secret import Secret
from novafleet.ports import HostSession
from novafleet.transport.pool import SshPool
from novafleet.transport.trust import HostKey
from tests.contract.test_session import _echo, _said, until_gone
from tests.sshd import change_key, free_port, keygen, running_sshd
from tests.sshserver import Manners, serving

TRUE = Command(("true",))


@asynccontextmanager
async def pool_of(folder: Path, *hosts: Host) -> AsyncIterator[SshPool]:
    fleet = Fleet({host.name: host for host in hosts}, {})
    async with SshPool(fleet, known_hosts=folder / "own", passwords=lambda _: Secret.of("")) as pool:
        yield pool


async def refused(folder: Path, host: Host) -> Exception:
    async with pool_of(folder, host) as pool:
        try:
            await pool.get(host)
        except (UnreachableError, TrustError, AuthError) as error:
            return error
    raise AssertionError("was let in")


async def test_unknown_key_by_policy(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        stranger = server.host(known_hosts=str(tmp_path / "none"))
        error = await refused(tmp_path, stranger)
        assert isinstance(error, TrustError) and error.code == "NF-SSH-201"
        assert "novafleet host trust -l kvm1" in error.hints[0]
        key = HostKey.parse((tmp_path / "host.pub").read_text())
        pinned = replace(stranger, trust=TrustPolicy.PINNED, fingerprint=key.fingerprint)
        async with pool_of(tmp_path, pinned) as pool:
            await pool.get(pinned)
        assert not (tmp_path / "own").exists()
        new = replace(stranger, trust=TrustPolicy.ACCEPT_NEW)
        for _ in range(2):
            async with pool_of(tmp_path, new) as pool:
                await pool.get(new)
        assert (tmp_path / "own").read_text() == f"[127.0.0.1]:{server.port} {key}\n"


@pytest.mark.parametrize("policy", list(TrustPolicy))
async def test_changed_key_names_both_and_the_line(tmp_path: Path, policy: TrustPolicy) -> None:
    async with serving(tmp_path) as server:
        keygen(tmp_path / "other")
        (tmp_path / "known_hosts").write_text(f"\n[127.0.0.1]:{server.port} " + (tmp_path / "other.pub").read_text())
        old, new = (HostKey.parse((tmp_path / name).read_text()).fingerprint for name in ("other.pub", "host.pub"))
        error = await refused(tmp_path, server.host(trust=policy, fingerprint=old if policy == "pinned" else ""))
    assert isinstance(error, TrustError) and error.code == "NF-SSH-202"
    assert old in error.cause and new in error.cause
    assert policy is TrustPolicy.PINNED or f"{tmp_path}/known_hosts:2" in error.cause
    assert server.manners.logins == 0


async def test_hashed_known_hosts_and_authorities(tmp_path: Path) -> None:
    keygen(tmp_path / "ca")
    with running_sshd(tmp_path) as sshd:
        sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} " + (tmp_path / "host.pub").read_text())
        change_key("-H", "-f", str(sshd.known_hosts))
        assert sshd.known_hosts.read_text().startswith("|1|")
        async with pool_of(tmp_path) as pool:
            await pool.get(sshd.host())
    change_key("-s", f"{tmp_path}/ca", "-I", "host", "-h", "-n", "127.0.0.1", f"{tmp_path}/host.pub")
    change_key("-s", f"{tmp_path}/ca", "-I", "me", "-n", sshd.host().user, f"{tmp_path}/key.pub")
    user_ca = f"TrustedUserCAKeys {tmp_path}/ca.pub"
    with running_sshd(tmp_path, f"HostCertificate {tmp_path}/host-cert.pub", user_ca) as sshd:
        (tmp_path / "authorized").write_text("")
        sshd.known_hosts.write_text("@cert-authority * " + (tmp_path / "ca.pub").read_text())
        async with pool_of(tmp_path) as pool:
            assert (await (await pool.get(sshd.host())).run(TRUE)).ok


async def test_ports_of_one_address_are_different_machines(tmp_path: Path) -> None:
    keygen(tmp_path / "other")
    with running_sshd(tmp_path) as sshd:
        sshd.known_hosts.write_text("127.0.0.1 " + (tmp_path / "other.pub").read_text())
        error = await refused(tmp_path, sshd.host())
        assert isinstance(error, TrustError) and error.code == "NF-SSH-201"
        host = (tmp_path / "host.pub").read_text()
        sshd.known_hosts.write_text(f"@revoked [127.0.0.1]:{sshd.port} {host}127.0.0.1 {host}")
        error = await refused(tmp_path, sshd.host(trust=TrustPolicy.ACCEPT_NEW))
        assert isinstance(error, TrustError) and error.code == "NF-SSH-203"


async def test_the_kind_of_host_key_that_is_known_is_asked_for(tmp_path: Path) -> None:
    """At a login as for ``host trust``, and ssh's first choice of a host that is not known."""
    for kind in ("rsa", "ecdsa"):
        change_key("-t", kind, "-N", "", "-f", f"{tmp_path}/{kind}")
    with running_sshd(tmp_path, f"HostKey {tmp_path}/rsa", f"HostKey {tmp_path}/ecdsa") as sshd:
        for kind in ("host", "rsa", "ecdsa"):
            public = (tmp_path / f"{kind}.pub").read_text()
            sshd.known_hosts.write_text(f"* {public}")
            async with pool_of(tmp_path) as pool:
                await pool.get(sshd.host())
                assert (await pool.host_key(sshd.host()))[1] == HostKey.parse(public)
        stranger = sshd.host(known_hosts="/dev/null")
        error = await refused(tmp_path, stranger)
        assert isinstance(error, TrustError) and "ssh_host_ed25519_key.pub" in error.hints[1]
        async with pool_of(tmp_path) as pool:
            assert (await pool.host_key(stranger))[1].algorithm == "ssh-ed25519"


async def test_a_key_that_cannot_be_remembered(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        (tmp_path / "own").write_text("")
        host = server.host(known_hosts="/dev/null", trust=TrustPolicy.ACCEPT_NEW)
        async with SshPool(
            Fleet({}, {}), known_hosts=tmp_path / "own/known", passwords=lambda _: Secret.of("")
        ) as pool:
            with pytest.raises(NovaFleetError) as caught:
                await pool.get(host)
    assert caught.value.code == "NF-SSH-206" and str(tmp_path / "own") in caught.value.cause


async def test_rejected_once_is_not_tried_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        keygen(tmp_path / "wrong")
        host = server.host(key=str(tmp_path / "wrong"))
        async with pool_of(tmp_path, host) as pool:
            for _ in range(3):
                with pytest.raises(AuthError) as caught:
                    await pool.get(host)
        assert caught.value.code == "NF-SSH-300" and str(tmp_path / "wrong") in caught.value.cause
        assert server.manners.logins == 1


async def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        change_key("-t", "ed25519", "-N", "secret", "-f", f"{tmp_path}/locked")
        (tmp_path / "text").write_text("no key\n")
        for name, code in (("locked", "NF-SSH-302"), ("missing", "NF-SSH-301"), ("text", "NF-SSH-303")):
            error = await refused(tmp_path, server.host(key=str(tmp_path / name)))
            assert isinstance(error, AuthError) and error.code == code
            assert str(tmp_path / name) in str(error)


async def test_nobody_there(tmp_path: Path) -> None:
    keygen(tmp_path / "key")
    error = await refused(tmp_path, Host("kvm1", "127.0.0.1", port=free_port(), key=str(tmp_path / "key")))
    assert isinstance(error, UnreachableError) and error.code == "NF-SSH-102"
    error = await refused(tmp_path, Host("kvm1", "no-such-host.invalid", key=str(tmp_path / "key")))
    assert isinstance(error, UnreachableError) and error.code == "NF-SSH-101"


async def test_silent_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.transport.ssh.LOGIN_TIMEOUT", 0.5)
    async with serving(tmp_path, Manners(silent=True)) as server:
        error = await refused(tmp_path, server.host())
        assert isinstance(error, UnreachableError) and error.code == "NF-SSH-109"


async def test_jump_hosts(tmp_path: Path) -> None:
    with running_sshd(tmp_path) as sshd:
        bastion, hidden = sshd.host("bastion"), sshd.host("hidden", jump=("bastion",))
        third = sshd.host("third", jump=("bastion", "hidden"))
        lost = sshd.host("lost", jump=("bastion",), port=free_port())
        async with pool_of(tmp_path, bastion, hidden, third, lost) as pool:
            session = await pool.get(third)
            assert (await session.run(TRUE)).ok
            with pytest.raises(UnreachableError) as caught:
                await pool.get(lost)
            assert caught.value.code == "NF-SSH-107"


async def test_a_jump_host_that_fails_is_told_with_whom_it_stands_before(tmp_path: Path) -> None:
    """Each of them, though the jump host is asked once."""
    with running_sshd(tmp_path) as sshd:
        keygen(tmp_path / "wrong")
        bastion = sshd.host("bastion", key=str(tmp_path / "wrong"))
        hosts = [sshd.host(name, jump=("bastion",)) for name in ("one", "two")]
        async with pool_of(tmp_path, bastion, *hosts) as pool:
            for host in hosts:
                with pytest.raises(AuthError) as caught:
                    await pool.get(host)
                assert caught.value.where == "bastion"
                assert caught.value.cause.endswith(f"; the way to {host.name} leads through it")


async def test_a_cut_jump_host_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "bastion").mkdir()
    (tmp_path / "hidden").mkdir()
    async with serving(tmp_path / "bastion") as first, serving(tmp_path / "hidden") as second:
        bastion, hidden = first.host("bastion"), second.host("hidden", jump=("bastion",))
        async with pool_of(tmp_path, bastion, hidden) as pool:
            session = await pool.get(hidden)
            waiting = asyncio.ensure_future(session.run(Command(("sleep", "7341"))))
            await asyncio.wait({waiting}, timeout=0.5)
            first.manners.connections[0].abort()
            with pytest.raises(UnreachableError):
                await asyncio.wait_for(waiting, 5)
            assert (await session.run(TRUE)).ok


async def test_lost_under_a_command(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, pool_of(tmp_path) as pool:
        session = await pool.get(server.host())
        waiting = asyncio.ensure_future(session.run(Command(("sleep", "7342"))))
        await asyncio.wait({waiting}, timeout=0.5)
        server.manners.connections[0].abort()
        with pytest.raises(UnreachableError) as caught:
            await asyncio.wait_for(waiting, 5)
        assert caught.value.code == "NF-SSH-105" and caught.value.retry == "later"
        results = await asyncio.gather(*(session.run(TRUE) for _ in range(10)))
        assert all(each.ok for each in results)
        assert len(server.manners.connections) == 2


async def test_drop_makes_a_new_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, pool_of(tmp_path) as pool:
        await (await pool.get(server.host())).run(TRUE)
        await pool.drop(server.host())
        await (await pool.get(server.host())).run(TRUE)
        assert len(server.manners.connections) == 2


async def test_few_sessions_are_learnt(tmp_path: Path) -> None:
    with running_sshd(tmp_path, "MaxSessions 2") as sshd:
        async with pool_of(tmp_path) as pool:
            session = await pool.get(sshd.host())
            done = await asyncio.gather(*(session.run(Command(("echo", str(n)))) for n in range(20)))
            assert [each.text for each in done] == [f"{n}\n" for n in range(20)]
            with pytest.raises(DeadlineError):
                await asyncio.gather(*(session.run(Command.script("sleep 7343; :"), timeout=1.0) for _ in range(2)))
            await until_gone(session, "7343")


async def test_no_sessions_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path, Manners(sessions=0)) as server, pool_of(tmp_path) as pool:
        session = await pool.get(server.host())
        with pytest.raises(ChannelError) as caught:
            await session.run(TRUE)
        assert caught.value.code == "NF-SSH-400"


async def test_few_logins_at_once(tmp_path: Path) -> None:
    with running_sshd(tmp_path, "MaxStartups 2:1:4") as sshd:
        hosts = [sshd.host(f"kvm{n}", f"127.0.1.{n}") for n in range(1, 31)]
        async with pool_of(tmp_path, *hosts) as pool:
            sessions = await asyncio.gather(*(pool.get(host) for host in hosts))
            done = await asyncio.gather(*(session.run(TRUE) for session in sessions))
            assert all(each.ok for each in done)


async def test_a_server_that_always_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.transport.pool.pause", lambda attempt: 0.0)
    keygen(tmp_path / "key")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refused(tmp_path, Host("kvm1", "127.0.0.1", port=port, key=str(tmp_path / "key")))
    assert isinstance(error, UnreachableError) and error.code == "NF-SSH-104"


async def test_relays_where_forwarding_is_off(tmp_path: Path) -> None:
    lines = ("AllowTcpForwarding no", "AllowStreamLocalForwarding no")
    with running_sshd(tmp_path, *lines) as sshd:
        async with pool_of(tmp_path) as pool:
            session = await pool.get(sshd.host())
            await _through_relays(session, tmp_path)
            with pytest.raises(ChannelError) as caught:
                async with session.listen_tcp("127.0.0.1", 0, lambda _: asyncio.sleep(0)):
                    pass
            assert caught.value.code == "NF-SSH-403"


async def _through_relays(session: HostSession, folder: Path) -> None:
    async with await asyncio.start_server(_echo, "127.0.0.1", 0) as tcp:
        port = tcp.sockets[0].getsockname()[1]
        assert await _said(await session.open_tcp("127.0.0.1", port), b"hello" * 1000) == b"hello" * 1000
    async with await asyncio.start_unix_server(_echo, folder / "s"):
        assert await _said(await session.open_unix(str(folder / "s")), b"hello" * 1000) == b"hello" * 1000
        channel = await session.open_unix(str(folder / "s"))
        reading = asyncio.ensure_future(channel.read())
        began = time.monotonic()
        await channel.close()
        assert await asyncio.wait_for(reading, 2) == b""
        assert time.monotonic() - began < 5
    with pytest.raises(ChannelError):
        await session.open_unix(str(folder / "nothing"))


async def test_closing_does_not_wait_for_the_dead(tmp_path: Path) -> None:
    with running_sshd(tmp_path) as sshd:
        began = time.monotonic()
        async with pool_of(tmp_path) as pool:
            session = await pool.get(sshd.host())
            pid = int((await session.run(Command.script("echo $PPID"))).text)
            os.kill(pid, signal.SIGSTOP)
        try:
            assert time.monotonic() - began < 10
        finally:
            os.kill(pid, signal.SIGKILL)
