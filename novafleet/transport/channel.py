"""Sessions and sockets as asyncssh drives them: it calls these methods, nothing here imports it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from novafleet.errors import ChannelError, NovaFleetError
from novafleet.model.command import Output
from novafleet.transport import translate
from novafleet.transport.stream import Inbox, Outbox, Source

if TYPE_CHECKING:
    from novafleet.ports import ChannelHandler
    from novafleet.transport.limits import SessionGate

log = logging.getLogger(__name__)

SIGNALS = {number.name.removeprefix("SIG"): int(number) for number in signal.Signals}
WRITE_BUFFER = 1024 * 1024
WINDOW = 2 * 1024 * 1024
BULK: Mapping[str, Any] = {"window": 8 * 1024 * 1024, "max_pktsize": 128 * 1024}
"""What a channel for much data asks for. What a packet costs is paid a quarter as often as with the usual 32 KiB. sshd
holds up to a window of what a socket gives it, 16 MiB at most (channels.h, CHAN_INPUT_MAX): a window as large as that
makes it move all of it for every read, at five times the processor time."""


class RawChannel(Source, Protocol):
    """What is used of ``asyncssh.SSHChannel``."""

    def write(self, data: bytes) -> None:
        """Queue data."""

    def write_eof(self) -> None:
        """End our side."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When to hold writers up, in bytes."""

    def is_closing(self) -> bool:
        """True when nothing more can be sent."""

    def abort(self) -> None:
        """Close at once."""

    def send_signal(self, signal: str) -> None:
        """Signal the process (session channels only)."""


class Stream:
    """What a process and a socket share: bytes in, bytes out, an end."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.inbox = Inbox()
        self.outbox = Outbox()
        self.closed = asyncio.Event()
        self._chan: RawChannel | None = None
        self.outbox.pause()  # whoever speaks first waits for the channel

    def connection_made(self, chan: RawChannel) -> None:
        self._chan = chan
        self.inbox.attach(chan)
        chan.set_write_buffer_limits(high=WRITE_BUFFER)
        self.outbox.resume()

    def session_started(self) -> None:
        """Nothing to prepare."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.inbox.put(2 if datatype else 1, data)

    def eof_received(self) -> bool:
        self.inbox.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.inbox.end(translate.lost(self.label, str(exc)) if exc else None)
        self.outbox.close()
        self.closed.set()

    def pause_writing(self) -> None:
        self.outbox.pause()

    def resume_writing(self) -> None:
        self.outbox.resume()

    def send(self, data: bytes) -> None:
        """Hand data to the channel; a channel that closes meanwhile takes nothing."""
        chan = self._chan
        if chan and not chan.is_closing():
            chan.write(data)

    def end_sending(self) -> None:
        """Half-close our side."""
        if self._chan and not self._chan.is_closing() and not self.outbox.closed:
            self._chan.write_eof()

    async def close(self) -> None:
        """Give the channel up, without waiting for a server that is gone."""
        self.abort()

    def abort(self) -> None:
        """Close at once; readers see the end, writers are let go."""
        if self._chan:
            self._chan.abort()
        self.outbox.close()
        self.inbox.end()


def abandon(task: asyncio.Future[object], stream: Stream) -> None:
    """Close a channel that opens after we gave up on it."""

    def close(ended: asyncio.Future[object]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            stream.abort()

    task.add_done_callback(close)


class SshProcess(Stream):
    """A remote process (``link.Process``). ``on_end`` is called once when its channel is closed."""

    def __init__(self, label: str, on_end: Callable[[], None]) -> None:
        super().__init__(label)
        self._on_end = on_end
        self._status: int | None = None
        self._known = asyncio.Event()
        self._lost: Exception | None = None

    @property
    def ended(self) -> bool:
        """True once the exit status or the end of the connection arrived."""
        return self._known.is_set()

    async def read(self) -> Output | None:
        """The next piece of output; None when both streams ended."""
        return await self.inbox.get()

    async def write(self, data: bytes) -> None:
        """Feed standard input, waiting while it is full."""
        await self.outbox.send(self.send, data)

    async def status(self) -> int:
        """The exit status, 128+N after signal N. Raises UnreachableError when the connection was lost first."""
        await self._known.wait()
        if self._status is None:
            raise translate.lost(self.label, str(self._lost or "the server ended the session without a status"))
        return self._status

    def write_eof(self) -> None:
        """End standard input."""
        self.end_sending()

    def signal(self, name: str) -> None:
        """Ask sshd to signal the process group of the login shell (RFC 4254, 6.9); OpenSSH does since 7.9."""
        if self._chan and not self._chan.is_closing():
            self._chan.send_signal(name)

    def exit_status_received(self, status: int) -> None:
        self._ends(status)

    def exit_signal_received(self, signal: str, *_: object) -> None:
        self._ends(128 + SIGNALS.get(signal, 0))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc
        super().connection_lost(exc)
        self._known.set()
        self._on_end()

    def _ends(self, status: int) -> None:
        self._status = status
        self._known.set()


class SshSocket(Stream):
    """A socket behind a host (``ports.Channel``)."""

    async def read(self, limit: int = 65536) -> bytes:
        """Up to ``limit`` bytes; empty at end of file."""
        piece = await self.inbox.get()
        if piece is None:
            return b""
        if len(piece.data) > limit:
            self.inbox.put_back(Output(1, piece.data[limit:]))
        return piece.data[:limit]

    async def write(self, data: bytes) -> None:
        """Send, waiting while the window is full. Raises ChannelError when the other side has closed."""
        if not await self.outbox.send(self.send, data):
            raise ChannelError("the socket was closed by the other side", code="NF-SSH-404", where=self.label)

    async def write_eof(self) -> None:
        """Half-close our side."""
        self.end_sending()


class Place:
    """A place at the session gate, given back exactly once."""

    def __init__(self, gate: SessionGate | None) -> None:
        self._gate = gate
        self.taken = False

    def leave(self) -> None:
        """The session ended."""
        gate, self._gate = self._gate, None
        if gate:
            gate.leave()

    def refused(self) -> bool:
        """The server refused it; True when waiting for another session to end can help."""
        gate, self._gate = self._gate, None
        return gate.refused() if gate else False

    def settle(self) -> None:
        """Give it back unless a session lives on it."""
        if not self.taken:
            self.leave()


class Visitors:
    """Connections that arrive at a listening host, each in its own task."""

    def __init__(self, label: str, handler: ChannelHandler) -> None:
        self._label = label
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Visitors:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def accept_tcp(self, _host: str, _port: int) -> SshSocket:
        """A TCP connection."""
        return self.accept_unix()

    def accept_unix(self) -> SshSocket:
        """A UNIX connection."""
        socket = SshSocket(self._label)
        task = asyncio.get_running_loop().create_task(self._serve(socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return socket

    async def _serve(self, socket: SshSocket) -> None:
        try:
            await self._handler(socket)
        except NovaFleetError as error:
            log.info("%s: a forwarded connection ended: %s", self._label, error)
        finally:
            await socket.close()
