"""An NBD client: a disk behind a channel as a ``ports.BlockTarget``. What the server says is not trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from novafleet.errors import BlockError, Retry
from novafleet.model.backup import Extent
from novafleet.nbd import extents as merging
from novafleet.nbd import protocol, reply
from novafleet.nbd.ahead import DEPTH, STEP, read_many
from novafleet.nbd.handshake import Export, negotiate
from novafleet.nbd.protocol import Cmd, Flag, Request, Run
from novafleet.nbd.reply import Pending
from novafleet.nbd.wire import Wire
from novafleet.ports import Channel

STATUS_STEP = 2 * 1024**3
"""Bytes one BLOCK_STATUS asks about: a 32-bit length (QEMU < 8.2 has no extended headers), a multiple of any block."""
ZERO_STEP = 1024**3
WRITE_STEP = 1024 * 1024
"""Zeroes sent to a server that does not know WRITE_ZEROES, at once."""
MAX_EXTENTS = 4 * 1024 * 1024
"""Extents of one call to ``extents``: a hostile server cannot fill our memory with more."""


async def connect_nbd(channel: Channel, export: str, contexts: Sequence[str] = (protocol.ALLOCATION,)) -> NbdClient:
    """Negotiate over an open channel, which then belongs to the client (and is closed when this fails).

    ``contexts``: ``base:allocation``, ``qemu:dirty-bitmap:NAME``. Raises BlockError: NF-NBD-001 connection lost,
    NF-NBD-002 broken protocol, NF-NBD-003 no such export, NF-NBD-004 no such bitmap.
    """
    wire = Wire(channel, f"export {export}")
    agreed = None
    try:
        agreed = await negotiate(wire, export, contexts)
    finally:
        if agreed is None:
            await channel.close()
    return NbdClient(wire, agreed)


class NbdClient:
    """``ports.BlockTarget``. Any number of requests may be under way; each waits only for its own reply.

    Every method raises BlockError: NF-NBD-001 (retry later) once the connection is lost, for all that wait;
    NF-NBD-005 with offset and errno for what the server refuses.
    """

    def __init__(self, wire: Wire, export: Export) -> None:
        self._wire = wire
        self._export = export
        self._pending: dict[int, Pending] = {}
        self._cookie = 0
        self._lost: BlockError | None = None
        self._reader = asyncio.create_task(self._receive())

    @property
    def size(self) -> int:
        """Bytes."""
        return self._export.size

    @property
    def read_only(self) -> bool:
        """Whether the server takes no writes."""
        return bool(self._export.flags & Flag.READ_ONLY)

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""
        self._inside(offset, length)
        pieces = reply.split(offset, length, self._export.max_payload)
        parts = [(await self._request(Cmd.READ, at, count)).data() for at, count in pieces]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_many(
        self, extents: Iterable[Extent], depth: int = DEPTH, step: int = STEP
    ) -> AsyncIterator[tuple[int, bytes]]:
        """See ``ahead.read_many``."""
        return read_many(self, extents, depth, step)

    async def write(self, offset: int, data: bytes) -> None:
        """Put data in place."""
        self._writable(offset, len(data))
        if len(data) <= self._export.max_payload:
            if data:
                await self._request(Cmd.WRITE, offset, len(data), data)
            return
        for at, count in reply.split(offset, len(data), self._export.max_payload):
            await self._request(Cmd.WRITE, at, count, data[at - offset : at - offset + count])

    async def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeroes, giving up its space where the format can."""
        self._writable(offset, length)
        if self._export.flags & Flag.SEND_WRITE_ZEROES:
            for at, count in reply.split(offset, length, ZERO_STEP):
                await self._request(Cmd.WRITE_ZEROES, at, count)
        else:
            for at, count in reply.split(offset, length, min(WRITE_STEP, self._export.max_payload)):
                await self._request(Cmd.WRITE, at, count, bytes(count))

    async def flush(self) -> None:
        """Return when everything written is durable."""
        if self._export.flags & Flag.SEND_FLUSH:
            await self._request(Cmd.FLUSH)

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """What the range consists of: in order, without gaps, clipped to it.

        ``zero`` is what ``base:allocation`` says (a hole that may read as anything is data); ``dirty`` what the
        bitmap says, true without one. A range can be both: zeroes written since the checkpoint.
        """
        self._inside(offset, length)
        found: list[Extent] = []
        end = offset + length
        while offset < end:
            step = min(end - offset, STATUS_STEP)
            found.extend(merging.merge(offset, step, await self._status(offset, step)))
            if len(found) > MAX_EXTENTS:
                raise self._wire.broken(f"it tells of more than {MAX_EXTENTS} extents")
            offset = found[-1].end
        return list(merging.join(iter(found)))

    async def close(self) -> None:
        """Say goodbye and end the channel; whatever still waits fails."""
        if not self._lost:
            await self._say_goodbye()
        await self._wire.close()
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _say_goodbye(self) -> None:
        try:
            await self._wire.send(Request(Cmd.DISC, 0).encode())
        except BlockError as exc:
            self._fail(exc)

    async def _status(self, offset: int, length: int) -> Mapping[str, Sequence[Run]]:
        contexts = self._export.contexts
        if not contexts:
            return {"": [Run(length, protocol.STATE_DIRTY)]}
        status = (await self._request(Cmd.BLOCK_STATUS, offset, length)).status
        if status.keys() != contexts.keys():
            raise self._wire.broken("a block status does not answer what was asked")
        return {contexts[number]: runs for number, runs in status.items()}

    async def _request(self, command: Cmd, offset: int = 0, length: int = 0, payload: bytes = b"") -> Pending:
        """Send a request and wait for its whole reply."""
        if self._lost:
            raise _again(self._lost) from self._lost
        self._cookie += 1
        done: asyncio.Future[BlockError | None] = asyncio.get_running_loop().create_future()
        request = self._pending[self._cookie] = Pending(command, offset, length, done)
        await self._wire.send(Request(command, self._cookie, offset, length).encode() + payload)
        if lost := await done:
            raise _again(lost) from lost
        if request.error:
            raise reply.refusal(self._wire.where, request)
        return request

    async def _receive(self) -> None:
        """Take replies until the connection ends; however that happens, nobody is left waiting."""
        reason = self._wire.lost("the connection was closed here")
        try:
            while True:
                if request := await reply.receive(self._wire, self._pending):
                    request.settle(None)
        except BlockError as exc:
            reason = exc
        finally:
            self._fail(reason)

    def _fail(self, reason: BlockError) -> None:
        self._lost = self._lost or reason
        for request in self._pending.values():
            request.settle(self._lost)
        self._pending.clear()

    def _inside(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} are not inside {self.size} bytes")

    def _writable(self, offset: int, length: int) -> None:
        self._inside(offset, length)
        if self.read_only:
            raise BlockError(
                "the disk export takes no writes", code="NF-NBD-006", where=self._wire.where, retry=Retry.NEVER
            )


def _again(error: BlockError) -> BlockError:
    """The same error for one more waiter."""
    return BlockError(error.what, code=error.code, where=error.where, cause=error.cause, retry=error.retry)
