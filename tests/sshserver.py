"""An SSH server in the test's own process, with the bad manners real servers have."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from novafleet.model.fleet import Host
from tests.sshd import free_port, keygen


@dataclass(slots=True)
class Manners:
    """What the server does: sessions a connection, forwards, a login it never answers."""

    sessions: int = 10
    forwards: bool = True
    silent: bool = False
    logins: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)


class _Server(asyncssh.SSHServer):
    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._open = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._manners.connections.append(conn)

    async def begin_auth(self, username: str) -> bool:
        self._manners.logins += 1
        if self._manners.silent:
            await asyncio.Event().wait()
        return True

    def session_requested(self) -> asyncssh.SSHServerProcess[bytes] | bool:
        if self._open >= self._manners.sessions:
            return False
        self._open += 1
        return asyncssh.SSHServerProcess(self._serve, None, 3, False)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return self._refuse_or(True)

    def unix_connection_requested(self, dest_path: str) -> bool:
        return self._refuse_or(True)

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return self._manners.forwards

    def unix_server_requested(self, listen_path: str) -> bool:
        return self._manners.forwards

    def _refuse_or(self, answer: bool) -> bool:
        if not self._manners.forwards:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        return answer

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", process.command or "", stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        feeding = asyncio.ensure_future(_feed(process.stdin, child.stdin))
        try:
            await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
            status = await child.wait()
            if status < 0:
                process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                process.exit(status)
        finally:
            feeding.cancel()
            self._open -= 1


async def _pump(source: asyncio.StreamReader | None, sink: asyncssh.SSHWriter[bytes]) -> None:
    assert source
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter | None) -> None:
    assert sink
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@dataclass(frozen=True, slots=True)
class Serving:
    """A running one."""

    folder: Path
    port: int
    manners: Manners

    def host(self, name: str = "kvm1", **fields: object) -> Host:
        """An inventory entry that leads to it."""
        values = {"port": self.port, "user": getpass.getuser(), "key": str(self.folder / "key")}
        known = {"known_hosts": str(self.folder / "known_hosts")}
        return Host(name, "127.0.0.1", **{**values, **known, **fields})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(folder: Path, manners: Manners | None = None, port: int = 0) -> AsyncIterator[Serving]:
    """Serve on loopback; the key and the host's key stay the same while ``folder`` does."""
    manners = manners or Manners()
    port = port or free_port()
    if not (folder / "key").exists():
        keygen(folder / "host")
        keygen(folder / "key")
    (folder / "known_hosts").write_text("* " + (folder / "host.pub").read_text())
    keys = [asyncssh.read_private_key(folder / "host")]
    authorized = str(folder / "key.pub")

    async with asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: _Server(manners),
        server_host_keys=keys,
        authorized_client_keys=authorized,
        encoding=None,
    ):
        yield Serving(folder, port, manners)
