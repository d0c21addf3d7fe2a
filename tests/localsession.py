"""The one fake host: this machine without SSH. Everything above ``transport.link`` is the real code."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from novafleet.errors import ChannelError
from novafleet.model.command import Output
from novafleet.model.fleet import Host
from novafleet.model.secret import Secret
from novafleet.ports import Channel, ChannelHandler
from novafleet.transport.errors import ForwardingOffError, LostBeforeStartError
from novafleet.transport.session import SshSession
from novafleet.transport.stream import Inbox


class LocalProcess:
    """A child of ours as ``link.Process``."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._inbox = Inbox()
        self._pumps = [
            asyncio.ensure_future(self._pump(1, child.stdout)),
            asyncio.ensure_future(self._pump(2, child.stderr)),
        ]
        self._both = asyncio.ensure_future(self._finish())

    async def _pump(self, number: int, stream: asyncio.StreamReader | None) -> None:
        while stream and (data := await stream.read(65536)):
            self._inbox.put(number, data)

    async def _finish(self) -> None:
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._inbox.end()

    async def read(self) -> Output | None:
        return await self._inbox.get()

    async def write(self, data: bytes) -> None:
        if self._child.stdin and not self._child.stdin.is_closing():
            with contextlib.suppress(ConnectionError):
                self._child.stdin.write(data)
                await self._child.stdin.drain()

    def write_eof(self) -> None:
        if self._child.stdin:
            self._child.stdin.close()

    async def status(self) -> int:
        status = await self._child.wait()
        return status if status >= 0 else 128 - status

    @property
    def ended(self) -> bool:
        return self._child.returncode is not None

    def signal(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, getattr(signal, f"SIG{name}"))

    async def close(self) -> None:
        self.write_eof()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait({self._both})


class LocalSocket:
    """A stream of ours as ``ports.Channel``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, limit: int = 65536) -> bytes:
        return await self._reader.read(limit)

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ChannelError("closed")
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._reader.feed_eof()
        self._writer.close()


class LocalLink:
    """This machine as ``link.Link``; ``break_off`` is a lost connection."""

    def __init__(self, folder: Path) -> None:
        self.lost = False
        self._folder = folder
        self.forwards = True

    def break_off(self) -> None:
        self.lost = True

    async def start(self, line: str, *, bulk: bool = False, urgent: bool = False) -> LocalProcess:
        if self.lost:
            raise LostBeforeStartError("broken off")
        pipe = asyncio.subprocess.PIPE
        return LocalProcess(
            await asyncio.create_subprocess_exec(
                "sh", "-c", line, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, cwd=self._folder
            )
        )

    async def open_tcp(self, address: str, port: int) -> Channel:
        if not self.forwards:
            raise ForwardingOffError("switched off")
        try:
            return LocalSocket(*await asyncio.open_connection(address, port))
        except OSError as exc:
            raise ChannelError("refused", code="NF-SSH-402", cause=str(exc)) from exc

    async def open_unix(self, path: str) -> Channel:
        if not self.forwards:
            raise ForwardingOffError("switched off")
        try:
            return LocalSocket(*await asyncio.open_unix_connection(path))
        except OSError as exc:
            raise ForwardingOffError(str(exc)) from exc

    @asynccontextmanager
    async def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AsyncIterator[int]:
        async with await asyncio.start_server(lambda r, w: handler(LocalSocket(r, w)), address, port) as server:
            yield server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def listen_unix(self, path: str, handler: ChannelHandler) -> AsyncIterator[str]:
        async with await asyncio.start_unix_server(lambda r, w: handler(LocalSocket(r, w)), path):
            yield path

    async def close(self) -> None:
        self.lost = True


class LocalTrunk:
    """Makes a new link when the last one broke."""

    def __init__(self, folder: Path, user: str = "") -> None:
        self.user = user or getpass.getuser()
        self.generation = 0
        self._folder = folder
        self._link: LocalLink | None = None

    async def link(self) -> LocalLink:
        if self._link is None or self._link.lost:
            self.generation += 1
            self._link = LocalLink(self._folder)
        return self._link

    @asynccontextmanager
    async def spare(self) -> AsyncIterator[LocalLink]:
        yield LocalLink(self._folder)


def local_session(
    folder: Path, host: Host | None = None, *, user: str = "", password: str = ""
) -> SshSession[LocalTrunk]:
    """A session to this machine; relative paths of its commands lie in ``folder``."""
    host = host or Host("local", "127.0.0.1")
    return SshSession(host, LocalTrunk(folder, user), lambda _: Secret.of(password))
