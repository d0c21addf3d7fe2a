"""A server that says what a test wants: honest up to the transmission phase, unless told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from novafleet.nbd import protocol
from novafleet.nbd.client import NbdClient, connect_nbd
from novafleet.nbd.offer import READ_FLAGS
from novafleet.nbd.protocol import Handshake, Info, Option, Rep, Request
from novafleet.nbd.wire import Wire
from novafleet.ports import Channel
from novafleet.transport.local import listen_local, open_local

SIZE = 64 * 1024
GREETING = protocol.GREETING.pack(protocol.NBDMAGIC, protocol.IHAVEOPT, Handshake.FIXED_NEWSTYLE | Handshake.NO_ZEROES)
ALLOCATION = protocol.U32.pack(1) + protocol.ALLOCATION.encode()
EXPORT = protocol.EXPORT_INFO.pack(Info.EXPORT, SIZE, READ_FLAGS)
HONEST = {
    Option.STRUCTURED_REPLY: [(Rep.ACK, b"")],
    Option.SET_META_CONTEXT: [(Rep.META_CONTEXT, ALLOCATION), (Rep.ACK, b"")],
    Option.GO: [(Rep.INFO, EXPORT), (Rep.ACK, b"")],
}
Replies = dict[Option, list[tuple[Rep, bytes]]]
Answer = Callable[[Request], bytes]


async def _play(channel: Channel, replies: Replies, answer: Answer) -> None:
    wire = Wire(channel, "hostile")
    await wire.send(GREETING)
    await wire.exactly(protocol.CLIENT_FLAGS.size)
    kind = 0
    while kind != Option.GO:
        _, kind, length = await wire.unpack(protocol.OPTION)
        await wire.exactly(length)
        for reply, data in replies[Option(kind)]:
            await wire.send(protocol.option_reply(kind, reply, data))
    while True:
        request = Request.decode(await wire.exactly(protocol.REQUEST.size))
        said = answer(request)
        await wire.send(said)
        if not said:
            await channel.close()


@asynccontextmanager
async def hostile(folder: Path, answer: Answer, **replies: list[tuple[Rep, bytes]]) -> AsyncIterator[NbdClient]:
    """A client of it. ``replies``: other ones to an option, by its name. An empty answer ends the connection."""
    said = {**HONEST, **{Option[name]: given for name, given in replies.items()}}

    async def play(channel: Channel) -> None:
        await _play(channel, said, answer)

    async with listen_local(str(folder / "hostile.sock"), play) as path:
        client = await connect_nbd(await open_local(path), "disk")
        try:
            yield client
        finally:
            await client.close()


async def raw_server(folder: Path, said: bytes, talk: Callable[[str], Awaitable[None]]) -> None:
    """``talk`` to a socket that says these bytes to everyone and then hangs up."""

    async def speak(channel: Channel) -> None:
        await channel.write(said)
        await channel.write_eof()
        while await channel.read():
            pass

    async with listen_local(str(folder / "raw.sock"), speak) as path:
        await talk(path)
