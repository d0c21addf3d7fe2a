"""UNIX sockets of this machine as ``ports.Channel``: for programs here that read what we serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from novafleet.errors import ChannelError
from novafleet.ports import Channel, ChannelHandler
from novafleet.transport.channel import RawChannel, SshSocket, Visitors


class _Callbacks(asyncio.Protocol):
    """A transport of asyncio drives the socket as a channel of asyncssh would; they have the same methods."""

    def __init__(self, socket: SshSocket) -> None:
        self.socket = socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket.connection_made(cast("RawChannel", transport))

    def data_received(self, data: bytes) -> None:
        self.socket.data_received(data, None)

    def eof_received(self) -> bool:
        return self.socket.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.socket.connection_lost(exc)

    def pause_writing(self) -> None:
        self.socket.pause_writing()

    def resume_writing(self) -> None:
        self.socket.resume_writing()


async def open_local(path: str) -> Channel:
    """A connection to a UNIX socket of this machine. Raises ChannelError NF-SSH-402."""
    loop = asyncio.get_running_loop()
    try:
        _, callbacks = await loop.create_unix_connection(lambda: _Callbacks(SshSocket(path)), path)
    except OSError as exc:
        raise ChannelError("the socket does not answer", code="NF-SSH-402", where=path, cause=str(exc)) from exc
    return callbacks.socket


@asynccontextmanager
async def listen_local(path: str, handler: ChannelHandler) -> AsyncIterator[str]:
    """Connections to a UNIX socket reach ``handler``, each in a task of its own. ``path`` lies in a folder that only
    we may enter (0700): that is what keeps others away from it."""
    loop = asyncio.get_running_loop()
    async with Visitors(path, handler) as visitors:
        server = await loop.create_unix_server(lambda: _Callbacks(visitors.accept_unix()), path)
        try:
            yield path
        finally:
            server.close()
