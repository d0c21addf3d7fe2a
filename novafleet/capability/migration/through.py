"""Pieces of a file through the controller: one command on each host, packed bytes in between, held up by the slower."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.pieces import Piece, listed
from novafleet.capability.migration.scripts import script
from novafleet.errors import CommandError, SpaceError
from novafleet.ports import Streaming

ERRORS = 2000
"""Characters of standard error that are kept."""


@dataclass(frozen=True, slots=True)
class Packed:
    """``codec`` zstd | none; ``fresh``: what is not written yet reads as zeroes on the destination."""

    codec: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Load:
    """Pieces of one file: from ``source`` on one host into ``target`` on the other."""

    source: str
    target: str
    pieces: Sequence[Piece]
    packed: Packed


Arrived = Callable[[int], None]
"""Hears of bytes that are in place."""


class Sender(Protocol):
    """A way for pieces of a file."""

    async def send(self, ends: Ends, load: Load, tell: Arrived) -> None:
        """Put them in place. Raises UnreachableError, ChannelError, CommandError,
        SpaceError NF-MIG-402."""


@dataclass(slots=True)
class ThroughController:
    """``Sender`` that works whenever the controller reaches both; ``bandwidth`` bytes a second (0: any)."""

    bandwidth: int = 0
    _free_at: float = 0.0

    async def send(self, ends: Ends, load: Load, tell: Arrived) -> None:
        """See ``Sender``."""
        packed, header = load.packed, listed(load.pieces)
        reader = script("read.sh", load.source, packed.codec)
        how = "fresh" if packed.fresh else "over"
        writer = script("write.sh", load.target, packed.codec, how, mutates=True)
        async with ends.source.session.stream(reader, stdin=told(header)) as reading:
            heard = _Heard(reading)
            feed = self._feed(header, heard)
            async with ends.destination.session.stream(writer, stdin=feed) as writing:
                said = _Heard(writing)
                await said.lines(tell)
                await _ended(ends.source.host.name, load.source, heard)
                await _ended(ends.destination.host.name, load.target, said)

    async def _feed(self, header: bytes, heard: _Heard) -> AsyncIterator[bytes]:
        yield header + b"\n"
        async for data in heard.data():
            await self._wait(len(data))
            yield data

    async def _wait(self, count: int) -> None:
        if not self.bandwidth:
            return
        now = asyncio.get_running_loop().time()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self.bandwidth
        if begin > now:
            await asyncio.sleep(begin - now)


async def told(data: bytes) -> AsyncIterator[bytes]:
    """Standard input of a few lines."""
    yield data


async def finished(ends: Ends, load: Load, running: Streaming, tell: Arrived) -> None:
    """Hear a command of the source to its end. Raises CommandError, SpaceError NF-MIG-402."""
    heard = _Heard(running)
    await heard.lines(tell)
    if "No space left" in heard.complaint:
        raise no_room(ends.destination.host.name, load.target, heard.complaint.strip())
    await _ended(ends.source.host.name, load.source, heard)


class _Heard:
    """A running command whose complaints are kept."""

    def __init__(self, running: Streaming) -> None:
        self.running = running
        self.complaint = ""

    async def data(self) -> AsyncIterator[bytes]:
        """Its standard output."""
        async for piece in self.running:
            if piece.stream == 1:
                yield piece.data
            else:
                self.complaint = (self.complaint + piece.data.decode("utf-8", "replace"))[-ERRORS:]

    async def lines(self, tell: Callable[[int], None]) -> None:
        """To its end; ``wrote N`` is passed on."""
        rest = ""
        async for data in self.data():
            *whole, rest = (rest + data.decode("ascii", "replace")).split("\n")
            for line in whole:
                word, _, count = line.partition(" ")
                if word == "wrote" and count.isdecimal():
                    tell(int(count))


async def _ended(host: str, path: str, heard: _Heard) -> None:
    status = await heard.running.status()
    if status == 0:
        return
    if "No space left" in heard.complaint:
        raise no_room(host, path, heard.complaint.strip())
    raise CommandError(
        f"{path} could not be carried", status=status, stderr=heard.complaint, where=host, cause=heard.complaint.strip()
    )


def no_room(host: str, path: str, cause: str) -> SpaceError:
    """The destination cannot hold it."""
    return SpaceError(
        f"no room for {path}",
        code="NF-MIG-402",
        where=host,
        cause=cause,
        hints=(f"df -h {path.rpartition('/')[0]}   # on {host}", "or another pool: --pool NAME"),
    )
