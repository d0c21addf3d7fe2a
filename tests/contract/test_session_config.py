"""Logins as ssh_config and the agent have them: keys, certificates, proxies, as with ssh itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from novafleet.errors import AuthError, CommandError, UnreachableError
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet, Host
from novafleet.model.secret import Secret
from novafleet.transport.pool import SshPool
from novafleet.transport.sshconfig import SshConfig
from tests.contract.test_session_faults import TRUE, pool_of, refused
from tests.sshd import change_key, keygen, running_sshd, until
from tests.sshserver import serving


@asynccontextmanager
async def agent(folder: Path, *keys: Path) -> AsyncIterator[Path]:
    """An agent that holds keys, for as long."""
    socket = folder / "agent"
    running = await asyncio.create_subprocess_exec(
        "ssh-agent", "-D", "-a", str(socket), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await until(socket.exists)
        for key in keys:
            adding = await asyncio.create_subprocess_exec(
                "ssh-add", "-q", str(key), env={**os.environ, "SSH_AUTH_SOCK": str(socket)}
            )
            assert await adding.wait() == 0
        yield socket
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


async def test_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as server, agent(tmp_path, tmp_path / "key") as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        async with pool_of(tmp_path) as pool:
            assert (await (await pool.get(server.host(key=""))).run(TRUE)).ok
        change_key("-p", "-P", "", "-N", "secret", "-f", f"{tmp_path}/key")
        (tmp_path / "alone").write_bytes((tmp_path / "key").read_bytes())
        for key in ("key", "alone"):  # OpenSSH's format tells the public half without the passphrase
            async with pool_of(tmp_path) as pool:
                assert (await (await pool.get(server.host(key=str(tmp_path / key)))).run(TRUE)).ok


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., SshPool]:
    """A pool whose ssh_config has these lines."""

    def pool(*lines: str) -> SshPool:
        (tmp_path / "config").write_text("\n".join(lines) + "\n")
        config = SshConfig(tmp_path / "config")
        return SshPool(Fleet({}, {}), known_hosts=tmp_path / "own", passwords=lambda _: Secret.of(""), config=config)

    return pool


PUMP = """\
import os, socket, sys, threading
out = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 65536):
        out.sendall(data)
    out.close()
    os._exit(0)
threading.Thread(target=up).start()
while data := out.recv(65536):
    os.write(2, b"chatter\\n")
    os.write(1, data)
"""


async def test_a_proxy_command_is_the_shells(tmp_path: Path, configured: Callable[..., SshPool]) -> None:
    """With its variables, and with complaints that are not the connection's data."""
    (tmp_path / "pump").write_text(PUMP)
    with running_sshd(tmp_path) as sshd:
        async with configured(f"ProxyCommand $UNSET_HERE {sys.executable} {tmp_path}/pump %p 2>&2") as pool:
            session = await pool.get(sshd.host(key=str(sshd.key)))
            assert (await session.run(Command(("echo", "hello")))).text == "hello\n"
        assert not await _running(f"{tmp_path}/pump")


async def _running(word: str) -> bool:
    listing = await asyncio.create_subprocess_exec("pgrep", "-f", word, stdout=asyncio.subprocess.DEVNULL)
    return await listing.wait() == 0


@pytest.mark.parametrize(
    ("command", "said"), [("echo no route >&2", "no route"), ("/no/such/program", "/no/such/program")]
)
async def test_a_proxy_command_that_fails_is_named(
    tmp_path: Path, configured: Callable[..., SshPool], monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.setattr("novafleet.transport.pool.pause", lambda attempt: 0.0)
    async with configured(f"ProxyCommand sh -c '{command}'") as pool:
        with pytest.raises(UnreachableError, match="ProxyCommand") as caught:
            await pool.get(Host("kvm1", "127.0.0.1"))
    assert caught.value.code == "NF-SSH-103" and said in caught.value.cause


@pytest.mark.parametrize("named", ["only.pub", "only"])
async def test_an_identity_of_which_only_the_public_half_is_here(
    tmp_path: Path, configured: Callable[..., SshPool], named: str
) -> None:
    with running_sshd(tmp_path, "MaxAuthTries 2") as sshd:
        others = [tmp_path / f"other{number}" for number in range(3)]
        for key in (*others, tmp_path / "only"):
            keygen(key)
        (tmp_path / "authorized").write_text((tmp_path / "only.pub").read_text())
        async with agent(tmp_path, *others, tmp_path / "only") as socket:
            (tmp_path / "only").unlink()
            lines = (f"IdentityFile {tmp_path}/{named}", f"IdentityAgent {socket}")
            for key in ("", str(tmp_path / named)):
                async with configured(*lines) as pool:
                    await pool.get(sshd.host(key=key))


async def test_keys_of_the_agent_are_not_offered_twice(tmp_path: Path, configured: Callable[..., SshPool]) -> None:
    with running_sshd(tmp_path, "MaxAuthTries 3") as sshd:
        keys = [tmp_path / name for name in ("one", "two", "third")]
        for key in keys:
            keygen(key)
        (tmp_path / "authorized").write_text((tmp_path / "third.pub").read_text())
        async with agent(tmp_path, *keys) as socket:
            files = (f"IdentityFile {key}" for key in keys[:2])
            async with configured(*files, f"IdentityAgent {socket}") as pool:
                await pool.get(sshd.host(key=""))


async def test_a_file_that_is_no_key_does_not_bar_the_others(
    tmp_path: Path, configured: Callable[..., SshPool]
) -> None:
    """Nor does a CertificateFile that is not there."""
    with running_sshd(tmp_path) as sshd:
        (tmp_path / "putty").write_text("PuTTY-User-Key-File-3: ssh-rsa\n")
        lines = [f"IdentityFile {tmp_path}/putty", f"CertificateFile {tmp_path}/none-cert.pub"]
        async with configured(*lines, f"IdentityFile {sshd.key}") as pool:
            await pool.get(sshd.host(key=""))
        keygen(tmp_path / "wrong")
        for more, code in ((f"IdentityFile {tmp_path}/wrong", "NF-SSH-300"), ("IdentityAgent none", "NF-SSH-303")):
            async with configured(*lines, more) as pool:
                with pytest.raises(AuthError, match=f"{tmp_path}/putty is no private key") as caught:
                    await pool.get(sshd.host(key=""))
            assert caught.value.code == code


async def test_a_certificate_for_a_key_of_the_agent(tmp_path: Path, configured: Callable[..., SshPool]) -> None:
    keygen(tmp_path / "ca")
    with running_sshd(tmp_path, f"TrustedUserCAKeys {tmp_path}/ca.pub") as sshd:
        (tmp_path / "authorized").write_text("")
        async with agent(tmp_path, sshd.key) as socket:
            change_key("-s", f"{tmp_path}/ca", "-I", "me", "-n", sshd.host().user, f"{sshd.key}.pub")
            change_key("-p", "-P", "", "-N", "secret", "-f", str(sshd.key))
            async with configured(f"IdentityFile {sshd.key}", f"IdentityAgent {socket}") as pool:
                await pool.get(sshd.host(key=""))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes"), "was accepted"),
        (("PubkeyAuthentication no", "PasswordAuthentication yes"), "takes no keys, only password"),
        (("PasswordAuthentication yes", "AuthorizedKeysFile none"), "Permission denied"),
    ],
)
async def test_what_keys_cannot_give_is_named(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with running_sshd(tmp_path, *lines) as sshd:
        error = await refused(tmp_path, sshd.host())
        assert isinstance(error, AuthError) and error.code == "NF-SSH-300" and said in error.cause
        assert ("ssh-copy-id" in error.hints[0]) == ("denied" in said)


def test_a_server_of_nothing_but_diffie_hellman(tmp_path: Path) -> None:
    """The whole program: its standard error is the user's."""
    with running_sshd(tmp_path, "KexAlgorithms diffie-hellman-group14-sha256") as sshd:
        host = f"{{port: {sshd.port}, key: {sshd.key}, known_hosts: {sshd.known_hosts}}}"
        (tmp_path / "inventory.yml").write_text(f"hosts: {{127.0.0.1: {host}}}\n")
        words = ("-i", str(tmp_path / "inventory.yml"), "host", "exec", "-l", "all", "--", "echo", "hello")
        done = subprocess.run(
            [sys.executable, "-m", "novafleet", *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    assert (done.returncode, done.stderr) == (0, "") and "hello" in done.stdout


@pytest.mark.parametrize(
    ("line", "kind", "fix"),
    [
        ("KexAlgorithms diffie-hellman-group1-sha1", "key exchange", "curve25519-sha256 to KexAlgorithms"),
        ("Ciphers aes256-cbc", "encryption", "aes256-gcm@openssh.com to Ciphers"),
        ("Ciphers aes256-ctr\nMACs hmac-md5", "MAC", "hmac-sha2-256-etm@openssh.com to MACs"),
    ],
)
async def test_nothing_in_common_is_told_with_the_line_that_helps(
    tmp_path: Path, line: str, kind: str, fix: str
) -> None:
    with running_sshd(tmp_path, line) as sshd:
        error = await refused(tmp_path, sshd.host())
    assert isinstance(error, UnreachableError) and error.code == "NF-SSH-106"
    assert f"no {kind} algorithm in common" in error.what and fix in error.hints[0]
    assert line.split()[-1] in error.cause and len(error.cause) < 120


async def test_who_runs_no_command_says_why(tmp_path: Path) -> None:
    """As root's authorized_keys of cloud images does, and nologin."""
    words = 'Please login as the user "debian" rather than the user "root".'
    with running_sshd(tmp_path, f"ForceCommand echo '{words}'; exit 142") as sshd:
        async with pool_of(tmp_path) as pool:
            session = await pool.get(sshd.host())
            with pytest.raises(CommandError) as caught:
                await session.run(TRUE)
    assert caught.value.cause == words
