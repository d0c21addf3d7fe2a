"""The server's side of the negotiation: fixed newstyle, and the old EXPORT_NAME."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from novafleet.nbd import protocol
from novafleet.nbd.protocol import ALLOCATION, Flag, Handshake, Info, Option, Rep
from novafleet.nbd.wire import Wire
from novafleet.ports import BlockSource, BlockTarget

READ_FLAGS = Flag.HAS_FLAGS | Flag.READ_ONLY | Flag.CAN_MULTI_CONN | Flag.SEND_FLUSH
WRITE_FLAGS = Flag.HAS_FLAGS | Flag.SEND_FLUSH | Flag.SEND_WRITE_ZEROES
PREFERRED = 64 * 1024
MAX_OPTIONS = 1000
"""Options one client may send before it is given up."""
ALLOCATION_ID = 1
OLD_PADDING = bytes(124)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What client and server agreed on. ``allocation`` is the number of ``base:allocation``, if asked for."""

    source: BlockSource
    target: BlockTarget | None
    structured: bool
    allocation: int | None


async def offer(wire: Wire, exports: Mapping[str, BlockSource], writable: Mapping[str, BlockTarget]) -> Agreed | None:
    """From the greeting to the transmission phase; None when the client leaves without choosing an export."""
    await wire.send(
        protocol.GREETING.pack(protocol.NBDMAGIC, protocol.IHAVEOPT, Handshake.FIXED_NEWSTYLE | Handshake.NO_ZEROES)
    )
    (flags,) = await wire.unpack(protocol.CLIENT_FLAGS)
    return await _Negotiation(wire, {**exports, **writable}, writable, flags).run()


class _Negotiation:
    """Options of one client, in their order."""

    def __init__(
        self, wire: Wire, exports: Mapping[str, BlockSource], writable: Mapping[str, BlockTarget], flags: int
    ) -> None:
        self._wire = wire
        self._exports = exports
        self._writable = writable
        self._flags = flags
        self._structured = False
        self._context: str | None = None

    async def run(self) -> Agreed | None:
        """Until an export is chosen, or the client leaves."""
        for _ in range(MAX_OPTIONS):
            magic, kind, length = await self._wire.unpack(protocol.OPTION)
            if magic != protocol.IHAVEOPT or length > protocol.MAX_OPTION:
                raise self._wire.broken(f"option {kind} with magic {magic:#x} and {length} bytes")
            data = await self._wire.exactly(length)
            if kind == Option.ABORT:
                await self._reply(kind, Rep.ACK)
                return None
            if kind == Option.EXPORT_NAME:
                return await self._export_name(data)
            if agreed := await self._option(kind, data):
                return agreed
        raise self._wire.broken("a client that never chooses an export")

    async def _option(self, kind: int, data: bytes) -> Agreed | None:
        """One option; what was agreed on, when it was GO."""
        try:
            if kind in (Option.GO, Option.INFO):
                return await self._go(kind, data)
            answers: dict[int, Callable[[int, bytes], list[tuple[Rep, bytes]]]] = {
                Option.LIST: self._list,
                Option.STRUCTURED_REPLY: self._structure,
                Option.LIST_META_CONTEXT: self._contexts,
                Option.SET_META_CONTEXT: self._contexts,
            }
            replies = answers[kind](kind, data) if kind in answers else [(Rep.ERR_UNSUP, b"")]
        except ValueError as exc:
            replies = [(Rep.ERR_INVALID, str(exc).encode())]
        for reply, content in replies:
            await self._reply(kind, reply, content)
        return None

    def _list(self, _kind: int, _data: bytes) -> list[tuple[Rep, bytes]]:
        return [*((Rep.SERVER, protocol.text(name)) for name in self._exports), (Rep.ACK, b"")]

    def _structure(self, _kind: int, _data: bytes) -> list[tuple[Rep, bytes]]:
        self._structured = True
        return [(Rep.ACK, b"")]

    def _contexts(self, kind: int, data: bytes) -> list[tuple[Rep, bytes]]:
        name, queries = protocol.parse_meta_query(data)
        if not self._structured:
            return [(Rep.ERR_INVALID, b"structured replies come first")]
        if self._find(name) is None:
            return [(Rep.ERR_UNKNOWN, b"")]
        listing = kind == Option.LIST_META_CONTEXT
        known = ALLOCATION in queries or (listing and (not queries or "base:" in queries))
        if not listing:
            self._context = self._full(name) if known else None
        number = protocol.U32.pack(0 if listing else ALLOCATION_ID)
        return [*([(Rep.META_CONTEXT, number + ALLOCATION.encode())] if known else []), (Rep.ACK, b"")]

    async def _go(self, kind: int, data: bytes) -> Agreed | None:
        name, _ = protocol.parse_go(data)
        agreed = self._find(name)
        if agreed is None:
            await self._reply(kind, Rep.ERR_UNKNOWN, f"no export {name[:80]!r}".encode())
            return None
        export = protocol.EXPORT_INFO.pack(Info.EXPORT, agreed.source.size, _flags(agreed))
        await self._reply(kind, Rep.INFO, export)
        sizes = protocol.BLOCK_SIZES.pack(Info.BLOCK_SIZE, 1, PREFERRED, protocol.MAX_PAYLOAD)
        await self._reply(kind, Rep.INFO, sizes)
        await self._reply(kind, Rep.ACK)
        return agreed if kind == Option.GO else None

    async def _export_name(self, data: bytes) -> Agreed:
        agreed = self._find(data.decode("utf-8", "replace"))
        if agreed is None:
            raise self._wire.broken("a client of an export that does not exist")  # there is no other answer to it
        padding = b"" if self._flags & Handshake.NO_ZEROES else OLD_PADDING
        await self._wire.send(protocol.EXPORT_REPLY.pack(agreed.source.size, _flags(agreed)) + padding)
        return agreed

    def _full(self, name: str) -> str:
        """The name of an export; the empty one stands for the only one there is."""
        return next(iter(self._exports)) if not name and len(self._exports) == 1 else name

    def _find(self, name: str) -> Agreed | None:
        name = self._full(name)
        if name not in self._exports:
            return None
        context = ALLOCATION_ID if self._context == name else None
        return Agreed(self._exports[name], self._writable.get(name), self._structured, context)

    async def _reply(self, kind: int, reply: Rep, data: bytes = b"") -> None:
        await self._wire.send(protocol.option_reply(kind, reply, data))


def _flags(agreed: Agreed) -> Flag:
    return WRITE_FLAGS if agreed.target else READ_FLAGS
