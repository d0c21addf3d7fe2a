"""Much data through a forwarded socket: whole, whatever the cipher, keys renewed meanwhile, and never when altered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from novafleet.errors import ChannelError, UnreachableError
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet
from novafleet.model.secret import Secret
from novafleet.ports import HostSession
from novafleet.transport.pool import SshPool
from tests.sshd import running_sshd

CONTENT = random.Random(5).randbytes(6 << 20)
CHACHA = "Ciphers chacha20-poly1305@openssh.com"
RENEWED = "RekeyLimit 1M"
RELAYED = "AllowStreamLocalForwarding no"


@asynccontextmanager
async def source(folder: Path) -> AsyncIterator[str]:
    """A UNIX socket that gives ``CONTENT`` back for each byte it is sent, and takes what it is sent after an ``!``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while byte := await reader.read(1):
            writer.write(CONTENT if byte != b"!" else await reader.readexactly(len(CONTENT)))
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, folder / "s", limit=1 << 20):
        yield str(folder / "s")


@asynccontextmanager
async def sshd_session(folder: Path, *settings: str, cut: int = 0) -> AsyncIterator[HostSession]:
    """A session to a real sshd; with ``cut`` one bit changes so many bytes after the start of what it says."""
    pool = SshPool(Fleet({}, {}), known_hosts=folder / "own", passwords=lambda _: Secret.of(""))
    with running_sshd(folder, *settings) as sshd:
        async with altering(sshd.port, cut) as port, pool:
            yield await pool.get(sshd.host(port=port))


@asynccontextmanager
async def altering(port: int, cut: int) -> AsyncIterator[int]:
    """The port to use instead."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        while data := await reader.read(1 << 16):
            if 0 < left <= len(data):
                data = data[: left - 1] + bytes([data[left - 1] ^ 1]) + data[left:]
            left -= len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(reader, forth, 0))
            tasks.create_task(pump(back, writer, cut))

    if not cut:
        yield port
        return
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def received(session: HostSession, path: str, ask: bytes) -> bytes:
    channel = await session.open_unix(path)
    try:
        sending = asyncio.create_task(channel.write(ask))
        found = bytearray()
        while len(found) < len(CONTENT):
            piece = await channel.read()
            assert piece, f"it ended after {len(found)}"
            found += piece
        await sending
        return bytes(found)
    finally:
        await channel.close()


@pytest.mark.parametrize(
    "settings", [(), (CHACHA,), (RENEWED,), (RELAYED,)], ids=["aes-gcm", "chacha20", "renewed", "relayed"]
)
async def test_every_byte(tmp_path: Path, settings: tuple[str, ...]) -> None:
    async with source(tmp_path) as path, sshd_session(tmp_path, *settings) as session:
        both = await asyncio.gather(received(session, path, b"?"), received(session, path, b"!" + CONTENT))
        assert both[0] == both[1] == CONTENT
        assert await received(session, path, b"?") == CONTENT


async def test_other_channels_go_on(tmp_path: Path) -> None:
    async with source(tmp_path) as path, sshd_session(tmp_path) as session:
        bulk = asyncio.create_task(received(session, path, b"?"))
        said = [await session.run(Command(("seq", "20000"))) for _ in range(3)]
        assert {each.stdout for each in said} == {"".join(f"{n}\n" for n in range(1, 20001)).encode()}
        assert await bulk == CONTENT


@pytest.mark.parametrize("cut", [1 << 20, (1 << 20) + 70_000])
async def test_an_altered_packet_ends_the_connection(tmp_path: Path, cut: int) -> None:
    async with source(tmp_path) as path, sshd_session(tmp_path, cut=cut) as session:
        with pytest.raises((ChannelError, UnreachableError)):
            await received(session, path, b"?")
