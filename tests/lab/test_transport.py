"""SSH on real hosts: sudo with and without password, kills verified with ps, sshd with narrow settings."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from novafleet.errors import ChannelError, DeadlineError, PrivilegeError
from novafleet.model.command import Command
from novafleet.model.fleet import Become, Fleet, Host
from novafleet.model.secret import Secret
from novafleet.transport.pool import SshPool
from novafleet.transport.session import SshSession
from tests.labfixture import Lab

pytestmark = pytest.mark.lab
PASSWORD = "lab-sudo-password"
USERS = ("root", "ops", "opspw")
LEFT = 'ps -eo pid=,args= | grep -E "sleep $1( |$)" | grep -v grep; :'


def entry(lab: Lab, name: str, user: str = "root", become: Become | None = None) -> Host:
    default = Become(user != "root", "env:X" if user == "opspw" else "")
    keys = {"key": str(lab.key), "known_hosts": str(lab.known_hosts)}
    return Host(name, lab.hosts[name].address, user=user, become=become or default, **keys)


@asynccontextmanager
async def session_to(host: Host, folder: Path, password: str = PASSWORD) -> AsyncIterator[SshSession]:  # type: ignore[type-arg]
    async with SshPool(Fleet({}, {}), known_hosts=folder / "own", passwords=lambda _: Secret.of(password)) as pool:
        yield await pool.get(host)  # type: ignore[misc]


@contextmanager
def sshd_setting(lab: Lab, name: str, *lines: str) -> Iterator[None]:
    """Lines that win over the host's own for as long as the block runs."""
    path = "/etc/ssh/sshd_config.d/00-nf-transport.conf"
    lab.on(name, "sh", "-c", f"cat > {path} && (systemctl reload ssh || systemctl restart ssh)", stdin="\n".join(lines))
    try:
        yield
    finally:
        lab.on(name, "sh", "-c", f"rm -f {path}; systemctl reload ssh || systemctl restart ssh")


@pytest.mark.parametrize("name", ["kvm1", "kvm2"])
@pytest.mark.parametrize("user", USERS)
async def test_root_by_each_way(lab: Lab, tmp_path: Path, name: str, user: str) -> None:
    async with session_to(entry(lab, name, user), tmp_path) as session:
        done = await session.run(Command.script("id -un; cat; echo err >&2", become=True), stdin=b"data\n", timeout=20)
        assert (done.stdout, done.stderr) == (b"root\ndata\n", b"err\n")
        assert (await session.run(Command.script("exit 3", become=True), check=False)).status == 3
        outputs = await asyncio.gather(*(session.run(Command(("seq", "500"), become=True)) for _ in range(12)))
        assert {each.stdout for each in outputs} == {"".join(f"{n}\n" for n in range(1, 501)).encode()}


@pytest.mark.parametrize("user", USERS)
async def test_files_of_root(lab: Lab, tmp_path: Path, user: str) -> None:
    path = f"/root/nf-transport-{user}"
    try:
        async with session_to(entry(lab, "kvm2", user), tmp_path) as session:
            big = tmp_path / "big"
            big.write_bytes(os.urandom(3_000_000))
            look = {"mode": 0o640, "owner": "root:libvirt", "become": True}
            assert [await session.push(big, path, **look) for _ in range(2)] == [True, False]  # type: ignore[arg-type]
            assert await session.pull_to(path, tmp_path / "back", become=True) == 3_000_000
            assert (tmp_path / "back").read_bytes() == big.read_bytes()
        assert lab.on("kvm2", "stat", "-c", "%a %U:%G", path) == "640 root:libvirt\n"
    finally:
        lab.on("kvm2", "sh", "-c", f"rm -f {path} /root/.nf-transport-*.part")


@pytest.mark.parametrize("user", USERS)
async def test_a_deadline_leaves_nothing_running(lab: Lab, tmp_path: Path, user: str) -> None:
    script = 'sleep "$1" & (sleep "$1" & exec env -i sleep "$1") & wait'
    mark = str(10_000_000 + secrets.randbelow(1_000_000))
    async with session_to(entry(lab, "kvm1", user), tmp_path) as session:
        with pytest.raises(DeadlineError):
            await session.run(Command.script(script, mark, become=True), timeout=1.5)
    assert lab.on("kvm1", "sh", "-c", LEFT, "sh", mark) == ""


async def test_a_wrong_password_is_tried_once(lab: Lab, tmp_path: Path) -> None:
    async with session_to(entry(lab, "kvm3", "opspw"), tmp_path, password="wrong") as session:
        for _ in range(3):
            with pytest.raises(PrivilegeError) as caught:
                await session.run(Command(("true",), become=True), timeout=20)
    assert caught.value.code == "NF-SUDO-002"


async def test_sudo_that_cannot(lab: Lab, tmp_path: Path) -> None:
    for become, code in ((Become(True), "NF-SUDO-001"), (Become(), "NF-SUDO-007")):
        async with session_to(entry(lab, "kvm3", "opspw", become), tmp_path) as session:
            with pytest.raises(PrivilegeError) as caught:
                await session.run(Command(("true",), become=True), timeout=20)
        assert caught.value.code == code


LISTEN = """\
mkdir -p "$1" && cd "$1" && { socat UNIX-LISTEN:nf-transport.sock,mode=600,fork EXEC:cat >/dev/null 2>&1 & }
"""


async def test_libvirt_socket_of_root_through_sudo(lab: Lab, tmp_path: Path) -> None:
    """libvirt calls the folder of a guest's sockets after the guest: socat gives quotes and commas a meaning."""
    folder = '/run/nf-it\'s, "odd"'
    lab.on("kvm2", "sh", "-c", LISTEN, "sh", folder)
    try:
        async with session_to(entry(lab, "kvm2", "opspw"), tmp_path) as session:
            channel = await session.open_unix(f"{folder}/nf-transport.sock")
            await channel.write(b"ping")
            assert await channel.read() == b"ping"
            await channel.close()
        async with session_to(entry(lab, "kvm2", "opspw", Become()), tmp_path) as session:
            with pytest.raises(ChannelError) as caught:
                await session.open_unix(f"{folder}/nf-transport.sock")
            assert "permission denied" in caught.value.cause
    finally:
        lab.on("kvm2", "sh", "-c", 'pkill -f nf-[t]ransport.sock; rm -rf "$1"', "sh", folder, check=False)


@pytest.mark.disturbs
async def test_narrow_sshd(lab: Lab, tmp_path: Path) -> None:
    lines = ("MaxSessions 2", "MaxStartups 2:1:4", "AllowStreamLocalForwarding no", "AllowTcpForwarding no")
    with sshd_setting(lab, "kvm3", *lines):
        async with session_to(entry(lab, "kvm3"), tmp_path) as session:
            done = await asyncio.gather(*(session.run(Command(("echo", str(n)))) for n in range(12)))
            assert [each.text for each in done] == [f"{n}\n" for n in range(12)]
            channel = await session.open_unix("/run/libvirt/libvirt-sock")
            await channel.close()
            channel = await session.open_tcp("127.0.0.1", 22)
            assert (await channel.read()).startswith(b"SSH-2.0")
            await channel.close()
        pools = [session_to(entry(lab, "kvm3"), tmp_path) for _ in range(10)]
        sessions = await asyncio.gather(*(each.__aenter__() for each in pools))
        assert all(each.ok for each in await asyncio.gather(*(each.run(Command(("true",))) for each in sessions)))
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in pools))
