"""Requests under way, and the replies that answer them piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from novafleet.errors import BlockError, Retry
from novafleet.nbd import protocol
from novafleet.nbd.protocol import Chunk, Cmd, Errno, Run
from novafleet.nbd.wire import Wire

RETRIES = {Errno.EIO: Retry.LATER, Errno.ESHUTDOWN: Retry.LATER, Errno.ENOSPC: Retry.AFTER_FIX}


@dataclass(slots=True)
class Pending:
    """One request, and what came of its reply. ``done`` ends with None, or with what the connection was lost by."""

    command: Cmd
    offset: int
    length: int
    done: asyncio.Future[BlockError | None]
    content: bytes = b""
    """A read that came in one piece."""
    buffer: bytearray | None = None
    """A read that comes in several."""
    covered: int = 0
    error: tuple[int, str] | None = None
    status: dict[int, list[Run]] = field(default_factory=dict)

    def settle(self, lost: BlockError | None) -> None:
        """Let the waiter go on, if it still waits."""
        if not self.done.done():
            self.done.set_result(lost)

    def data(self) -> bytes:
        """What was read."""
        return self.content or bytes(self.buffer or b"")

    def put(self, offset: int, data: bytes) -> None:
        """A piece of a read. Raises ValueError when it lies outside, or there are more bytes than were asked for."""
        self._cover(offset, len(data))
        if len(data) == self.length:
            self.content = data
        else:
            start = offset - self.offset
            self._buffer()[start : start + len(data)] = data

    def hole(self, offset: int, length: int) -> None:
        """A piece that reads as zeroes. Raises as ``put``."""
        self._cover(offset, length)
        self._buffer()

    def _cover(self, offset: int, length: int) -> None:
        self.covered += length
        inside = self.offset <= offset and offset + length <= self.offset + self.length
        if self.command != Cmd.READ or not length or not inside or self.covered > self.length:
            raise ValueError(f"{length} bytes at {offset} answer no read")

    def _buffer(self) -> bytearray:
        if self.buffer is None:
            self.buffer = bytearray(self.length)
        return self.buffer

    def complete(self) -> None:
        """The last piece came. Raises ValueError when bytes are missing."""
        if self.command == Cmd.READ and not self.error and self.covered != self.length:
            raise ValueError(f"a read of {self.length} bytes was answered with {self.covered}")


async def receive(wire: Wire, pending: dict[int, Pending]) -> Pending | None:
    """Take one message. The request it completed, when it did. Raises BlockError NF-NBD-001 or NF-NBD-002."""
    (magic,) = await wire.unpack(protocol.U32)
    if magic not in (protocol.STRUCTURED_REPLY_MAGIC, protocol.SIMPLE_REPLY_MAGIC):
        raise wire.broken(f"a reply begins with {magic:#x}")
    try:
        structured = magic == protocol.STRUCTURED_REPLY_MAGIC
        return await (_chunk(wire, pending) if structured else _simple(wire, pending))
    except ValueError as exc:
        raise wire.broken(str(exc)) from exc


async def _simple(wire: Wire, pending: dict[int, Pending]) -> Pending:
    error, cookie = await wire.unpack(protocol.SIMPLE_REST)
    request = _find(pending, cookie)
    if error:
        request.error = error, ""
    elif request.command == Cmd.READ:
        request.put(request.offset, await wire.exactly(request.length))
    elif request.command == Cmd.BLOCK_STATUS:
        raise ValueError("a block status without extents")
    return _finish(pending, cookie)


async def _chunk(wire: Wire, pending: dict[int, Pending]) -> Pending | None:
    flags, kind, cookie, length = await wire.unpack(protocol.CHUNK_REST)
    request = _find(pending, cookie)
    if length > _most(kind, request):
        raise ValueError(f"a chunk of kind {kind} has {length} bytes")
    if kind == Chunk.OFFSET_DATA:
        (offset,) = await wire.unpack(protocol.OFFSET)
        request.put(offset, await wire.exactly(length - protocol.OFFSET.size))
    else:
        _take(request, kind, await wire.exactly(length))
    return _finish(pending, cookie) if flags & protocol.CHUNK_DONE else None


def _take(request: Pending, kind: int, data: bytes) -> None:
    """Any chunk but data."""
    if kind == Chunk.OFFSET_HOLE and len(data) == protocol.HOLE.size:
        request.hole(*protocol.HOLE.unpack(data))
    elif kind == Chunk.BLOCK_STATUS and len(data) > protocol.U32.size:
        (context,) = protocol.U32.unpack_from(data)
        if context in request.status:
            raise ValueError("a metadata context is answered twice")
        request.status[context] = list(protocol.runs(data[protocol.U32.size :]))
    elif kind & Chunk.ERROR_BIT:
        request.error = request.error or protocol.error_text(data)
    elif kind != Chunk.NONE or data:
        raise ValueError(f"a chunk of kind {kind} with {len(data)} bytes")


def _most(kind: int, request: Pending) -> int:
    """The most bytes a chunk of this kind may have."""
    if kind == Chunk.OFFSET_DATA and request.command == Cmd.READ:
        return protocol.OFFSET.size + request.length
    if kind == Chunk.BLOCK_STATUS and request.command == Cmd.BLOCK_STATUS:
        return protocol.U32.size + protocol.MAX_DESCRIPTORS * protocol.DESCRIPTOR.size
    if kind & Chunk.ERROR_BIT:
        return protocol.MAX_ERROR
    return protocol.HOLE.size if kind == Chunk.OFFSET_HOLE and request.command == Cmd.READ else 0


def _find(pending: dict[int, Pending], cookie: int) -> Pending:
    if cookie not in pending:
        raise ValueError("it answers a request that was not made")
    return pending[cookie]


def _finish(pending: dict[int, Pending], cookie: int) -> Pending:
    pending[cookie].complete()  # an incomplete one stays: its waiter fails with the others
    return pending.pop(cookie)


def refusal(where: str, request: Pending) -> BlockError:
    """What a server's error means."""
    number, words = request.error or (0, "")
    name = Errno.name_of(number)
    return BlockError(
        f"{request.command.name} of {request.length} bytes at offset {request.offset} failed: {name}",
        code="NF-NBD-005",
        where=where,
        cause=words,
        retry=next((retry for known, retry in RETRIES.items() if known == number), Retry.NEVER),
    )


def split(offset: int, length: int, most: int) -> Iterator[tuple[int, int]]:
    """The range in pieces of at most ``most`` bytes."""
    for at in range(offset, offset + length, most):
        yield at, min(most, offset + length - at)
