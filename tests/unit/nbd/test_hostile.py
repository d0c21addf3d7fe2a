"""Servers that lie, and connections that break: always a BlockError, never a hang, never a byte believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import BlockError
from novafleet.nbd import protocol
from novafleet.nbd.client import connect_nbd
from novafleet.nbd.protocol import Chunk, Info, Rep, Request, chunk, simple_reply
from novafleet.transport.local import open_local
from tests.unit.nbd.hostile import ALLOCATION, GREETING, SIZE, hostile, raw_server

AT = protocol.OFFSET.pack
STATUS = protocol.U32.pack(1)


def huge(kind: Chunk) -> Callable[[Request], bytes]:
    """A chunk that announces 4 GiB."""
    return lambda request: protocol.CHUNK.pack(protocol.STRUCTURED_REPLY_MAGIC, 1, kind, request.cookie, 2**32 - 1)


LIES: dict[str, Callable[[Request], bytes]] = {
    "no magic": lambda _: b"x" * 64,
    "wrong cookie": lambda request: chunk(Chunk.NONE, request.cookie + 1),
    "no data": lambda request: chunk(Chunk.NONE, request.cookie),
    "too little": lambda request: chunk(Chunk.OFFSET_DATA, request.cookie, AT(request.offset) + b"x"),
    "too much": lambda request: chunk(Chunk.OFFSET_DATA, request.cookie, AT(request.offset) + bytes(4097)),
    "elsewhere": lambda request: chunk(Chunk.OFFSET_DATA, request.cookie, AT(request.offset + 1) + bytes(4096)),
    "before": lambda request: chunk(Chunk.OFFSET_DATA, request.cookie, AT(0) + bytes(16)),
    "twice": lambda request: 2 * chunk(Chunk.OFFSET_DATA, request.cookie, AT(request.offset) + bytes(4096), done=False),
    "empty data": lambda request: chunk(Chunk.OFFSET_DATA, request.cookie, AT(request.offset)),
    "huge hole": lambda request: chunk(Chunk.OFFSET_HOLE, request.cookie, protocol.HOLE.pack(request.offset, 2**31)),
    "short hole": lambda request: chunk(Chunk.OFFSET_HOLE, request.cookie, AT(request.offset)),
    "huge data": huge(Chunk.OFFSET_DATA),
    "huge status": huge(Chunk.BLOCK_STATUS),
    "huge error": huge(Chunk.ERROR),
    "unknown chunk": huge(Chunk.NONE),
    "a status": lambda request: chunk(Chunk.BLOCK_STATUS, request.cookie, STATUS + bytes(8)),
    "half an error": lambda request: chunk(Chunk.ERROR, request.cookie, b"\0"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_about_a_read(tmp_path: Path, lie: str) -> None:
    async with hostile(tmp_path, LIES[lie]) as client:
        reads = [asyncio.ensure_future(client.read(4096, 4096)) for _ in range(3)]
        done = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 5)
        assert {error.code for error in done if isinstance(error, BlockError)} == {"NF-NBD-002"}
        assert len(done) == 3
        with pytest.raises(BlockError):
            await client.read(0, 1)


STATUSES: dict[str, bytes] = {
    "nothing": b"",
    "no extents": STATUS,
    "half an extent": STATUS + bytes(7),
    "no length": STATUS + protocol.DESCRIPTOR.pack(0, 0),
    "another context": protocol.U32.pack(9) + protocol.DESCRIPTOR.pack(SIZE, 0),
}


@pytest.mark.parametrize("lie", STATUSES)
async def test_a_lie_about_extents(tmp_path: Path, lie: str) -> None:
    async with hostile(tmp_path, lambda request: chunk(Chunk.BLOCK_STATUS, request.cookie, STATUSES[lie])) as client:
        with pytest.raises(BlockError) as caught:
            await asyncio.wait_for(client.extents(0, SIZE), 5)
    assert caught.value.code == "NF-NBD-002"


async def test_extents_beyond_the_range_are_cut(tmp_path: Path) -> None:
    said = STATUS + protocol.DESCRIPTOR.pack(2**31, 0)
    async with hostile(tmp_path, lambda request: chunk(Chunk.BLOCK_STATUS, request.cookie, said)) as client:
        assert [(each.offset, each.length) for each in await client.extents(0, SIZE)] == [(0, SIZE)]


async def test_a_server_without_structured_replies(tmp_path: Path) -> None:
    async with hostile(
        tmp_path,
        lambda request: simple_reply(request.cookie, 0, b"x" * request.length),
        STRUCTURED_REPLY=[(Rep.ERR_UNSUP, b"")],
    ) as client:
        assert await client.read(0, 10) == b"x" * 10
        assert [(each.zero, each.dirty) for each in await client.extents(0, SIZE)] == [(False, True)]


async def test_a_simple_error(tmp_path: Path) -> None:
    async with hostile(tmp_path, lambda request: simple_reply(request.cookie, 28)) as client:
        with pytest.raises(BlockError, match="READ of 10 bytes at offset 5 failed: ENOSPC") as caught:
            await client.read(5, 10)
    assert caught.value.code == "NF-NBD-005"


async def test_a_connection_that_ends_fails_everyone_who_waits(tmp_path: Path) -> None:
    count = 0

    def some(_: Request) -> bytes:
        nonlocal count
        count += 1
        return b"" if count == 1 else b"\x66"

    async with hostile(tmp_path, some) as client:
        waiting = [asyncio.ensure_future(client.read(0, 10)) for _ in range(5)]
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(isinstance(error, BlockError) and error.retry == "later" for error in done)


REFUSALS = {
    "GO": [
        [(Rep.ERR_UNKNOWN, b"no such export")],
        [(Rep.ACK, b"")],
        [(Rep.INFO, protocol.EXPORT_INFO.pack(Info.EXPORT, 2**63, 0)), (Rep.ACK, b"")],
        [(Rep.INFO, b""), (Rep.ACK, b"")],
    ],
    "SET_META_CONTEXT": [
        [(Rep.ERR_UNKNOWN, b"")],
        [(Rep.META_CONTEXT, b"\0"), (Rep.ACK, b"")],
        [(Rep.META_CONTEXT, ALLOCATION + b"x"), (Rep.ACK, b"")],
        [(Rep.META_CONTEXT, ALLOCATION)] * 2000,
    ],
}


@pytest.mark.parametrize(("name", "replies"), [(name, each) for name, many in REFUSALS.items() for each in many])
async def test_a_negotiation_that_fails(tmp_path: Path, name: str, replies: list[tuple[Rep, bytes]]) -> None:
    with pytest.raises(BlockError) as caught:
        async with hostile(tmp_path, lambda _: b"", **{name: replies}):
            pass
    assert caught.value.code in ("NF-NBD-002", "NF-NBD-003")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200), greeted=st.booleans())
def test_junk_never_hangs(tmp_path_factory: pytest.TempPathFactory, junk: bytes, greeted: bool) -> None:
    async def talk(path: str) -> None:
        with pytest.raises(BlockError):
            await asyncio.wait_for(connect_nbd(await open_local(path), "disk"), 5)

    said = (GREETING if greeted else b"") + junk
    asyncio.run(raw_server(tmp_path_factory.mktemp("junk"), said, talk))
