"""What one open connection to a host offers: processes and sockets. ``ssh.SshLink`` is one, the tests have another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from novafleet.model.command import Output
    from novafleet.ports import Channel, ChannelHandler


class Process(Protocol):
    """A remote process and its three streams."""

    async def read(self) -> Output | None:
        """The next piece of output; None when both streams ended."""

    async def write(self, data: bytes) -> None:
        """Feed standard input, waiting while it is full; silently nothing once the process stopped reading."""

    def write_eof(self) -> None:
        """End standard input."""

    async def status(self) -> int:
        """The exit status, 128+N after signal N. Raises UnreachableError when the connection was lost first."""

    @property
    def ended(self) -> bool:
        """True once the exit status or the end of the connection arrived."""

    def signal(self, name: str) -> None:
        """Ask the server to signal it (``TERM``, ``KILL``); servers may ignore that."""

    async def close(self) -> None:
        """Give up the streams; does not end the process by itself."""


class Wrapped:
    """A process of which more is known: the base of those that read otherwise."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def read(self) -> Output | None:
        """The next piece of output."""
        return await self.process.read()

    async def write(self, data: bytes) -> None:
        """Feed standard input."""
        await self.process.write(data)

    def write_eof(self) -> None:
        """End standard input."""
        self.process.write_eof()

    async def status(self) -> int:
        """The exit status."""
        return await self.process.status()

    @property
    def ended(self) -> bool:
        """True once it ended."""
        return self.process.ended

    def signal(self, name: str) -> None:
        """Ask for a signal."""
        self.process.signal(name)

    async def close(self) -> None:
        """Give up the streams."""
        await self.process.close()


class Link(Protocol):
    """One connection."""

    @property
    def lost(self) -> bool:
        """True when it can carry nothing more."""

    async def start(self, line: str, *, bulk: bool = False, urgent: bool = False) -> Process:
        """Let the login shell run a line. ``bulk`` asks for a large window; ``urgent`` does not queue for a session.

        Raises LostBeforeStartError when the connection was found dead, ChannelError when the server refuses.
        """

    async def open_tcp(self, address: str, port: int) -> Channel:
        """A connection made by the host. Raises ChannelError, ForwardingOffError."""

    async def open_unix(self, path: str) -> Channel:
        """A connection to a UNIX socket on the host. Raises ChannelError, ForwardingOffError."""

    def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AbstractAsyncContextManager[int]:
        """The host listens; yields the port."""

    def listen_unix(self, path: str, handler: ChannelHandler) -> AbstractAsyncContextManager[str]:
        """The host listens on a UNIX socket."""

    async def close(self) -> None:
        """Close everything on it."""


class Trunk(Protocol):
    """A host's connection through time: made when needed, made again when lost."""

    async def link(self) -> Link:
        """A live connection. Raises UnreachableError, TrustError, AuthError."""

    def spare(self) -> AbstractAsyncContextManager[Link]:
        """A second connection for a moment, where the first has no session left."""

    @property
    def user(self) -> str:
        """Whom we log in as."""

    @property
    def generation(self) -> int:
        """Grows with each new connection."""


async def output(process: Process) -> AsyncIterator[Output]:
    """All pieces to the end."""
    while (piece := await process.read()) is not None:
        yield piece
