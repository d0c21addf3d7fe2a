"""Client and server against each other: random operations, and the ways of old clients."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import BlockError
from novafleet.model.backup import Extent
from novafleet.nbd import extents, protocol
from novafleet.nbd.ahead import read_many
from novafleet.nbd.client import connect_nbd
from novafleet.nbd.protocol import Cmd, Option, Request, Run
from novafleet.nbd.wire import Wire
from novafleet.transport.local import open_local
from tests.unit.nbd.memory import CELL, MemoryDisk, served

SIZE = 20 * CELL + 17

place = st.integers(0, SIZE - 1)
length = st.integers(1, 3 * CELL)
operation = st.one_of(
    st.tuples(st.just("write"), place, length, st.integers(0, 255)),
    st.tuples(st.sampled_from(["zero", "read", "extents"]), place, length, st.just(0)),
)


async def _do(path: str, operations: list[tuple[str, int, int, int]]) -> None:
    client = await connect_nbd(await open_local(path), "disk")
    model = bytearray(SIZE)
    for what, at, count, value in operations:
        count = min(count, SIZE - at)  # noqa: PLW2901
        if what == "write":
            await client.write(at, bytes([value]) * count)
            model[at : at + count] = bytes([value]) * count
        elif what == "zero":
            await client.zero(at, count)
            model[at : at + count] = bytes(count)
        elif what == "read":
            assert await client.read(at, count) == model[at : at + count]
        else:
            found = await client.extents(at, count)
            assert (found[0].offset, found[-1].end) == (at, at + count)
            assert all(not any(model[each.offset : each.end]) for each in found if each.zero)
    assert await client.read(0, SIZE) == model
    await client.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(operation, max_size=25))
def test_random_operations(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int, int]]
) -> None:
    async def both() -> None:
        async with served(tmp_path_factory.mktemp("nbd"), MemoryDisk(bytes(SIZE)), write=True) as path:
            await _do(path, operations)

    asyncio.run(both())


runs = st.lists(st.builds(Run, st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=20)


@given(allocation=runs, bitmap=runs, wanted=st.integers(1, 300))
def test_merging_says_of_each_byte_what_both_say(allocation: list[Run], bitmap: list[Run], wanted: int) -> None:
    merged = list(extents.merge(1000, wanted, {"base:allocation": allocation, "qemu:dirty-bitmap:x": bitmap}))
    zero = [bool(run.state & 2) for run in allocation for _ in range(run.length)]
    dirty = [bool(run.state & 1) for run in bitmap for _ in range(run.length)]
    said = [(each.zero, each.dirty) for each in merged for _ in range(each.length)]
    assert said == list(zip(zero, dirty, strict=False))[:wanted]
    joined = list(extents.join(iter(merged)))
    assert [(each.zero, each.dirty) for each in joined for _ in range(each.length)] == said
    assert len(joined) <= len(merged)


async def test_reading_ahead_holds_no_more_than_its_depth() -> None:
    class Counting(MemoryDisk):
        held = most = 0

        async def read(self, offset: int, length: int) -> bytes:
            self.held += 1
            self.most = max(self.most, self.held)
            await asyncio.sleep(0)
            return await super().read(offset, length)

    disk, content = Counting(bytes(100 * CELL)), bytearray()
    async with aclosing(read_many(disk, [Extent(7, 60 * CELL), Extent(70 * CELL, CELL)], depth=4, step=CELL)) as found:
        async for _, data in found:
            disk.held -= 1
            content += data
    assert disk.most == 4
    assert len(content) == 61 * CELL


async def test_reading_ahead_of_small_pieces_holds_as_many_bytes() -> None:
    class Waiting(MemoryDisk):
        held = 0
        enough = asyncio.Event()

        async def read(self, offset: int, length: int) -> bytes:
            self.held += 1
            if self.held == 32:
                self.enough.set()
            await self.enough.wait()
            return await super().read(offset, length)

    disk = Waiting(bytes(100 * CELL))
    apart = [Extent(at * CELL, CELL // 8) for at in range(100)]
    async with asyncio.timeout(30), aclosing(read_many(disk, apart, depth=4, step=CELL)) as found:
        assert [at async for at, _ in found] == [each.offset for each in apart]


async def test_leaving_early_cancels_what_is_under_way() -> None:
    class Slow(MemoryDisk):
        cancelled = 0

        async def read(self, offset: int, length: int) -> bytes:
            if offset:
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled += 1
            return await super().read(offset, length)

    disk = Slow(bytes(CELL * 10))
    async with aclosing(read_many(disk, [Extent(0, disk.size)], depth=4, step=CELL)) as found:
        async for _ in found:
            break
    assert disk.cancelled == 3


async def test_a_failing_read_is_raised_in_its_turn() -> None:
    disk, got = MemoryDisk(bytes(10 * CELL), bad=3 * CELL), []
    with pytest.raises(BlockError, match="medium"):
        async for at, _ in read_many(disk, [Extent(0, disk.size)], step=CELL):
            got.append(at)
    assert got == [0, CELL, 2 * CELL]


async def test_an_old_client_names_its_export_and_gets_simple_replies(tmp_path: Path) -> None:
    disk = MemoryDisk(b"abcdef" * 1000, bad=5000)
    async with served(tmp_path, disk) as path:
        wire = Wire(await open_local(path), "old")
        await wire.unpack(protocol.GREETING)
        await wire.send(protocol.CLIENT_FLAGS.pack(1) + protocol.option(Option.EXPORT_NAME, b"disk"))
        size, _ = await wire.unpack(protocol.EXPORT_REPLY)
        assert size == disk.size
        assert await wire.exactly(124) == bytes(124)
        await wire.send(Request(Cmd.READ, 42, 6, 12).encode() + Request(Cmd.READ, 43, 4990, 20).encode())
        replies = {}
        for _ in range(2):
            _, error, cookie = await wire.unpack(protocol.SIMPLE_REPLY)
            replies[cookie] = error or await wire.exactly(12)
        assert replies == {42: b"abcdefabcdef", 43: 5}
        await wire.close()


async def test_exports_are_listed(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(b"x")) as path:
        wire = Wire(await open_local(path), "lister")
        await wire.unpack(protocol.GREETING)
        await wire.send(protocol.CLIENT_FLAGS.pack(3) + protocol.option(Option.LIST) + protocol.option(Option.ABORT))
        _, _, kind, length = await wire.unpack(protocol.OPTION_REPLY)
        assert (kind, await wire.exactly(length)) == (protocol.Rep.SERVER, protocol.text("disk"))
        for _ in range(2):
            assert (await wire.unpack(protocol.OPTION_REPLY))[2:] == (protocol.Rep.ACK, 0)
        await wire.close()
