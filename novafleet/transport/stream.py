"""Bytes between SSH's callbacks and our coroutines, with back pressure both ways and no copying."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from novafleet.errors import NovaFleetError
from novafleet.model.command import Output

HIGH_WATER = 4 * 1024 * 1024
"""Received bytes nobody has read yet, above which the sender is held up."""


class Source(Protocol):
    """What can be held up: asyncssh channels and asyncio transports are such."""

    def pause_reading(self) -> None:
        """No more data, please."""

    def resume_reading(self) -> None:
        """Go on."""


class Inbox:
    """Pieces received, in order."""

    def __init__(self) -> None:
        self._pieces: deque[Output] = deque()
        self._bytes = 0
        self._ended = False
        self._error: NovaFleetError | None = None
        self._wake: asyncio.Future[None] | None = None
        self._source: Source | None = None
        self._paused = False

    def attach(self, source: Source) -> None:
        """Say whom to hold up."""
        self._source = source

    def put(self, stream: int, data: bytes) -> None:
        """A piece arrived."""
        self._pieces.append(Output(stream, data))
        self._bytes += len(data)
        if self._bytes > HIGH_WATER and not self._paused and self._source:
            self._paused = True
            self._source.pause_reading()
        self._notify()

    def end(self, error: NovaFleetError | None = None) -> None:
        """Nothing more will come; ``error`` says why when that is not the regular end."""
        if not self._ended:
            self._ended, self._error = True, error
            self._notify()

    async def get(self) -> Output | None:
        """The next piece, None at the end. Raises the error the stream ended with, after its last piece."""
        while not self._pieces:
            if self._ended:
                if self._error:
                    raise self._error
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        piece = self._pieces.popleft()
        self._taken(len(piece.data))
        return piece

    def put_back(self, piece: Output) -> None:
        """A reader took more than it wanted."""
        self._pieces.appendleft(piece)
        self._bytes += len(piece.data)

    def _taken(self, count: int) -> None:
        self._bytes -= count
        if self._paused and self._bytes <= HIGH_WATER // 2 and self._source:
            self._paused = False
            self._source.resume_reading()

    def _notify(self) -> None:
        if self._wake and not self._wake.done():
            self._wake.set_result(None)


class Outbox:
    """The right to write: taken away while the other side's window is full."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.closed = False

    def pause(self) -> None:
        """The window is full."""
        self._open.clear()

    def resume(self) -> None:
        """There is room again."""
        self._open.set()

    def close(self) -> None:
        """Nobody takes data any more; writers go on at once."""
        self.closed = True
        self._open.set()

    async def send(self, write: Callable[[bytes], None], data: bytes) -> bool:
        """Write when there is room; False when the other side is gone."""
        await self._open.wait()
        if not self.closed:
            write(data)
        return not self.closed
