"""A disk in memory as ``ports.BlockTarget``, and our server on a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from novafleet.errors import BlockError
from novafleet.model.backup import Extent
from novafleet.nbd.server import serve_nbd
from novafleet.ports import BlockTarget
from novafleet.transport.local import listen_local

CELL = 4096


class MemoryDisk:
    """``ports.BlockTarget``: cells of zeroes are holes. Reading at ``bad`` fails."""

    def __init__(self, content: bytes | bytearray, bad: int = -1) -> None:
        self.content = bytearray(content)
        self.bad = bad
        self.flushed = 0

    @property
    def size(self) -> int:
        return len(self.content)

    async def read(self, offset: int, length: int) -> bytes:
        if offset <= self.bad < offset + length:
            raise BlockError("the medium is bad", where="memory")
        return bytes(self.content[offset : offset + length])

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        found, end = [], offset + length
        while offset < end:
            stop = min(end, offset - offset % CELL + CELL)
            found.append(Extent(offset, stop - offset, self.content[offset:stop] == bytes(stop - offset)))
            offset = stop
        return found

    async def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    async def zero(self, offset: int, length: int) -> None:
        self.content[offset : offset + length] = bytes(length)

    async def flush(self) -> None:
        self.flushed += 1


@asynccontextmanager
async def served(folder: Path, disk: BlockTarget, *, write: bool = False) -> AsyncIterator[str]:
    """The socket of our server, which exports ``disk`` by that name."""
    writable = {"disk": disk} if write else {}
    async with listen_local(
        str(folder / "nbd.sock"), lambda channel: serve_nbd(channel, {"disk": disk}, writable)
    ) as path:
        yield path
