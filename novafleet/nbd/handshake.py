"""The client's side of the negotiation: fixed newstyle, structured replies, metadata contexts, GO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from novafleet.errors import BlockError, Retry
from novafleet.nbd import protocol
from novafleet.nbd.protocol import Flag, Handshake, Info, Option, Rep
from novafleet.nbd.wire import Wire

MAX_SIZE = 1 << 63
"""No disk has more bytes: QEMU's own limit, and the largest offset of a file."""
MAX_REPLIES = 1024
"""Replies to one option that are read before the server is given up."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was agreed on. ``contexts``: the server's number of each metadata context, and its name."""

    size: int
    flags: Flag
    max_payload: int = protocol.MAX_PAYLOAD
    structured: bool = False
    contexts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply to an option."""

    kind: int
    data: bytes

    @property
    def refused(self) -> bool:
        """Whether the server does not do it."""
        return self.kind >= Rep.ERROR


async def negotiate(wire: Wire, export: str, contexts: Sequence[str]) -> Export:
    """From the greeting to the transmission phase.

    Raises BlockError: NF-NBD-003 when the server does not give the export, NF-NBD-004 when it has no such dirty
    bitmap, NF-NBD-002 for answers that are no NBD. A server without ``base:allocation`` is taken as it is.
    """
    await _greet(wire)
    structured = not (await _ask(wire, Option.STRUCTURED_REPLY))[-1].refused
    known = await _contexts(wire, export, contexts) if structured and contexts else {}
    for wanted in contexts:
        if wanted.startswith(protocol.DIRTY_BITMAP) and wanted not in known.values():
            raise _no_bitmap(wire, wanted)
    size, flags, payload = await _go(wire, export)
    return Export(size, flags, payload, structured, known)


async def _greet(wire: Wire) -> None:
    magic, version, flags = await wire.unpack(protocol.GREETING)
    if magic != protocol.NBDMAGIC or version != protocol.IHAVEOPT:
        raise wire.broken("it does not greet as an NBD server (fixed newstyle)")
    if not flags & Handshake.FIXED_NEWSTYLE:
        raise wire.broken("it speaks only the old style of NBD")
    await wire.send(protocol.CLIENT_FLAGS.pack(flags & (Handshake.FIXED_NEWSTYLE | Handshake.NO_ZEROES)))


async def _ask(wire: Wire, kind: Option, data: bytes = b"") -> list[Reply]:
    """All replies to one option: the last one is its ACK, or refuses."""
    await wire.send(protocol.option(kind, data))
    replies: list[Reply] = []
    while len(replies) < MAX_REPLIES:
        magic, answered, reply, length = await wire.unpack(protocol.OPTION_REPLY)
        if magic != protocol.OPTION_REPLY_MAGIC or answered != kind:
            raise wire.broken(f"it answered option {kind.name} with something else")
        if length > protocol.MAX_OPTION:
            raise wire.broken(f"a reply to option {kind.name} has {length} bytes")
        replies.append(Reply(reply, await wire.exactly(length)))
        if reply == Rep.ACK or replies[-1].refused:
            return replies
    raise wire.broken(f"it never ends its replies to option {kind.name}")


async def _contexts(wire: Wire, export: str, wanted: Sequence[str]) -> Mapping[int, str]:
    replies = await _ask(wire, Option.SET_META_CONTEXT, protocol.meta_query(export, wanted))
    if replies[-1].kind == Rep.ERR_UNKNOWN:
        raise _refused(wire, replies[-1])
    known = {}
    for reply in replies:
        if reply.kind == Rep.META_CONTEXT:
            name = reply.data[protocol.U32.size :].decode("utf-8", "replace")
            if len(reply.data) < protocol.U32.size or name not in wanted:
                raise wire.broken(f"it offers a metadata context nobody asked for: {name[:80]!r}")
            known[protocol.U32.unpack_from(reply.data)[0]] = name
    return known


async def _go(wire: Wire, export: str) -> tuple[int, Flag, int]:
    """Size, flags and the largest payload. Block sizes are not asked for: the server then takes any alignment."""
    size, flags, payload = -1, Flag(0), protocol.MAX_PAYLOAD
    replies = await _ask(wire, Option.GO, protocol.go(export))
    if replies[-1].refused:
        raise _refused(wire, replies[-1])
    for reply in replies:
        info = int.from_bytes(reply.data[:2], "big") if reply.kind == Rep.INFO else None
        if info == Info.EXPORT and len(reply.data) == protocol.EXPORT_INFO.size:
            _, size, bits = protocol.EXPORT_INFO.unpack(reply.data)
            flags = Flag(bits)
        elif info == Info.BLOCK_SIZE and len(reply.data) == protocol.BLOCK_SIZES.size:
            payload = min(payload, protocol.BLOCK_SIZES.unpack(reply.data)[3])
    if not 0 <= size < MAX_SIZE or payload < 512:
        raise wire.broken(f"it exports {size} bytes, at most {payload} at once")
    return size, flags, payload


def _refused(wire: Wire, reply: Reply) -> BlockError:
    said = reply.data.decode("utf-8", "replace")[:300]
    kind = next((known.name for known in Rep if known == reply.kind), f"error {reply.kind - Rep.ERROR}")
    return BlockError(
        "the server does not give this disk export",
        code="NF-NBD-003",
        where=wire.where,
        cause=f"{kind}: {said}" if said else kind,
        retry=Retry.AFTER_FIX,
    )


def _no_bitmap(wire: Wire, context: str) -> BlockError:
    name = context.removeprefix(protocol.DIRTY_BITMAP)
    return BlockError(
        f"the disk export has no bitmap {name}, so what changed since is unknown",
        code="NF-NBD-004",
        where=wire.where,
        retry=Retry.NEVER,
    )
