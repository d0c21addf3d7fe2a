"""A real sshd for one test: on loopback, with its own keys and configuration, run as whoever runs the tests."""

from __future__ import annotations

import asyncio
import getpass
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from novafleet.model.fleet import Host

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
SETTINGS = """\
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
SetEnv SHLVL=2
PasswordAuthentication no
KbdInteractiveAuthentication no
Port {port}
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """Where it listens and what gets in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> Path:
        """The private key it lets in."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """A file that vouches for it."""
        return self.folder / "known_hosts"

    def host(self, name: str = "kvm1", address: str = "127.0.0.1", **fields: object) -> Host:
        """An inventory entry that leads to it."""
        values = {"port": self.port, "user": getpass.getuser(), "key": str(self.key)}
        return Host(name, address, **{**values, "known_hosts": str(self.known_hosts), **fields})  # type: ignore[arg-type]

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path) -> None:
    """A key pair."""
    change_key("-t", "ed25519", "-N", "", "-f", str(path))


def change_key(*options: str) -> None:
    """ssh-keygen, quietly."""
    subprocess.run(["ssh-keygen", "-q", *options], check=True, capture_output=True)


async def until(met: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(seconds):
        while True:
            answer = met()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


@contextmanager
def running_sshd(folder: Path, *extra: str) -> Iterator[Sshd]:
    """Start one; ``extra`` are lines of sshd_config. Skips the test where there is none."""
    if not Path(PROGRAM).exists():
        pytest.skip("no sshd on this machine")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    if not (folder / "host").exists():
        keygen(folder / "host")
        keygen(folder / "key")
    shutil.copy(folder / "key.pub", folder / "authorized")
    public = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"* {public}")
    (folder / "sshd_config").write_text("\n".join((*extra, SETTINGS.format(folder=folder, port=port))))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([PROGRAM, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield Sshd(folder, port, process)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                pytest.skip(f"sshd does not start here: {log.read_text()}")
            select.select([], [], [], 0.02)
    pytest.fail(f"sshd does not answer: {log.read_text()}")
