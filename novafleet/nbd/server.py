"""An NBD server on a channel: snapshots for QEMU to read. What the client says is not trusted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from novafleet.errors import BlockError, NovaFleetError
from novafleet.model.backup import Extent
from novafleet.nbd import protocol
from novafleet.nbd.layout import Layout
from novafleet.nbd.offer import Agreed, offer
from novafleet.nbd.protocol import STATE_HOLE, STATE_ZERO, Chunk, Cmd, CmdFlag, Errno, Request
from novafleet.nbd.reply import split
from novafleet.nbd.wire import Wire
from novafleet.ports import BlockSource, BlockTarget, Channel

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests of one client worked on at once; the next one is read when one has ended."""
PIECE = 1024 * 1024
"""Bytes of a read that are fetched and sent at once: what a client can make us hold is ``AT_ONCE`` times this."""
STATUS_MOST = 16 * 1024
"""Extents in one answer; the client asks on."""


async def serve_nbd(
    channel: Channel, exports: Mapping[str, BlockSource], writable: Mapping[str, BlockTarget] | None = None
) -> None:
    """Serve one connection until the client leaves. The empty name stands for the only export, if there is one.

    ``exports`` are read only; ``writable`` may be written too. Errors of a source reach the client as EIO with their
    words. Returns at the end of the connection, however it came about; cancel it to end it from here.
    """
    wire = Wire(channel, "client")
    try:
        if agreed := await offer(wire, exports, writable or {}):
            await _Transmission(wire, agreed).run()
    except* BlockError as group:
        log.info("an NBD client is gone: %s", group.exceptions[0])
    finally:
        await channel.close()


class _RefusedError(Exception):
    """A request that cannot be met, and the errno that says so."""

    def __init__(self, number: Errno, words: str) -> None:
        super().__init__(words)
        self.number = number


class _Transmission:
    """The requests of one client."""

    def __init__(self, wire: Wire, agreed: Agreed) -> None:
        self._wire = wire
        self._agreed = agreed
        self._layout = Layout(agreed.source, fixed=agreed.target is None)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until the client says goodbye. Raises a group of BlockErrors when it is gone without."""
        async with asyncio.TaskGroup() as answers:
            await self._room.acquire()
            while (request := await self._next()).command != Cmd.DISC:
                answers.create_task(self._answer(request, await self._payload(request)))
                await self._room.acquire()

    async def _next(self) -> Request:
        try:
            return Request.decode(await self._wire.exactly(protocol.REQUEST.size))
        except ValueError as exc:
            raise self._wire.broken(str(exc)) from exc

    async def _payload(self, request: Request) -> bytes:
        if request.command != Cmd.WRITE:
            return b""
        if request.length > protocol.MAX_PAYLOAD:
            raise self._wire.broken(f"a write of {request.length} bytes")
        return await self._wire.exactly(request.length)

    async def _answer(self, request: Request, payload: bytes) -> None:
        try:
            await self._carry_out(request, payload)
        except _RefusedError as exc:
            await self._error(request, exc.number, str(exc))
        except NovaFleetError as exc:
            log.warning("NBD %s at %d: %s", request.command, request.offset, exc)
            await self._error(request, Errno.EIO, str(exc))
        finally:
            self._room.release()

    async def _carry_out(self, request: Request, payload: bytes) -> None:
        if request.command != Cmd.FLUSH and request.offset + request.length > self._agreed.source.size:
            beyond = Errno.ENOSPC if payload or request.command == Cmd.WRITE_ZEROES else Errno.EINVAL
            raise _RefusedError(beyond, "beyond the end of the disk")
        if request.command == Cmd.READ:
            await self._read(request)
        elif request.command == Cmd.BLOCK_STATUS and self._agreed.allocation is not None:
            await self._status(request, self._agreed.allocation)
        elif request.command in (Cmd.WRITE, Cmd.WRITE_ZEROES, Cmd.FLUSH):
            await self._write(request, payload)
        else:
            raise _RefusedError(Errno.EINVAL, f"command {request.command} was not agreed on")

    async def _write(self, request: Request, payload: bytes) -> None:
        target = self._agreed.target
        if request.command == Cmd.FLUSH:
            await (target.flush() if target else asyncio.sleep(0))
        elif target is None:
            raise _RefusedError(Errno.EPERM, "the export is read only")
        elif request.command == Cmd.WRITE:
            await target.write(request.offset, payload)
        else:
            await target.zero(request.offset, request.length)
        await self._done(request)

    async def _read(self, request: Request) -> None:
        if not request.length or request.length > protocol.MAX_PAYLOAD:
            raise _RefusedError(Errno.EINVAL, f"a read of {request.length} bytes")
        if not self._agreed.structured:
            data = await self._agreed.source.read(request.offset, request.length)
            await self._wire.send(protocol.simple_reply(request.cookie, 0, data))
            return
        async for kind, data in self._pieces(request):
            await self._wire.send(protocol.chunk(kind, request.cookie, data, done=False))
        await self._done(request)

    async def _pieces(self, request: Request) -> AsyncIterator[tuple[Chunk, bytes]]:
        offset, end = request.offset, request.offset + request.length
        while offset < end:
            for extent in await self._layout.extents(offset, end - offset):
                offset = extent.end
                if extent.zero:
                    yield Chunk.OFFSET_HOLE, protocol.HOLE.pack(extent.offset, extent.length)
                    continue
                for at, count in split(extent.offset, extent.length, PIECE):
                    yield Chunk.OFFSET_DATA, protocol.OFFSET.pack(at) + await self._agreed.source.read(at, count)

    async def _status(self, request: Request, context: int) -> None:
        if not request.length:
            raise _RefusedError(Errno.EINVAL, "the status of nothing")
        extents = await self._layout.extents(request.offset, request.length)
        most = 1 if request.flags & CmdFlag.REQ_ONE else STATUS_MOST
        data = protocol.U32.pack(context) + b"".join(_descriptor(extent) for extent in extents[:most])
        await self._wire.send(protocol.chunk(Chunk.BLOCK_STATUS, request.cookie, data))

    async def _done(self, request: Request) -> None:
        if self._agreed.structured:
            await self._wire.send(protocol.chunk(Chunk.NONE, request.cookie))
        else:
            await self._wire.send(protocol.simple_reply(request.cookie))

    async def _error(self, request: Request, number: Errno, words: str) -> None:
        if self._agreed.structured:
            data = protocol.error_data(number, words)
            await self._wire.send(protocol.chunk(Chunk.ERROR, request.cookie, data))
        else:
            await self._wire.send(protocol.simple_reply(request.cookie, number))


def _descriptor(extent: Extent) -> bytes:
    return protocol.DESCRIPTOR.pack(extent.length, STATE_HOLE | STATE_ZERO if extent.zero else 0)
