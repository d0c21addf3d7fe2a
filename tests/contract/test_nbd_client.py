"""Our NBD client against QEMU's server."""

from __future__ import annotations

import itertools
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from novafleet.errors import BlockError
from novafleet.model.backup import Extent
from tests.qemunbd import exported, needs_qemu, qemu_img, qemu_io

pytestmark = needs_qemu
MIB = 1024 * 1024
KIB64 = 64 * 1024
BITMAP = "qemu:dirty-bitmap:since"
BOTH = ("base:allocation", BITMAP)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """8 MiB: data in the first 2, written before the bitmap; then data, zeroes and a discard behind it."""
    image = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "8M")
    qemu_io(image, "write -P 1 0 2M")
    qemu_img("bitmap", "--add", image, "since")
    qemu_io(image, "write -P 2 64k 64k", "write -z 256k 64k", "write -z -u 512k 64k", "discard 768k 64k")
    qemu_io(image, "write -P 3 4M 100k")
    return image


async def test_what_was_zeroed_since_the_bitmap_is_both_dirty_and_zero(disk: Path) -> None:
    async with exported(disk, "-r", "-B", "since", contexts=BOTH) as client:
        found = await client.extents(0, client.size)
    assert [each for each in found if each.dirty] == [
        Extent(KIB64, KIB64, zero=False),
        Extent(4 * KIB64, KIB64, zero=True),
        Extent(8 * KIB64, KIB64, zero=True),
        Extent(12 * KIB64, KIB64, zero=True),
        Extent(4 * MIB, 2 * KIB64, zero=False),
    ]
    assert sum(each.length for each in found) == 8 * MIB
    assert all(before.end == after.offset for before, after in itertools.pairwise(found))


async def test_extents_are_clipped_to_the_range(disk: Path) -> None:
    async with exported(disk, "-r", "-B", "since", contexts=BOTH) as client:
        assert await client.extents(KIB64 + 10, 20) == [Extent(KIB64 + 10, 20)]
        assert await client.extents(100, 0) == []


async def test_without_a_bitmap_everything_is_dirty(disk: Path) -> None:
    async with exported(disk, "-r") as client:
        found = await client.extents(0, client.size)
    assert all(each.dirty for each in found)
    assert next(each.offset for each in found if not each.zero) == 0


async def test_a_missing_bitmap_is_said(disk: Path) -> None:
    with pytest.raises(BlockError, match="no bitmap other") as caught:
        async with exported(disk, "-r", contexts=("base:allocation", "qemu:dirty-bitmap:other")):
            pass
    assert caught.value.code == "NF-NBD-004"


async def test_a_missing_export_is_said(disk: Path) -> None:
    with pytest.raises(BlockError) as caught:
        async with exported(disk, "-r", "-x", "another"):
            pass
    assert caught.value.code == "NF-NBD-003"


async def test_reads_are_what_qemu_wrote(disk: Path) -> None:
    raw = disk.parent / "disk.raw"
    qemu_img("convert", "-O", "raw", disk, raw)
    expected = raw.read_bytes()
    async with exported(disk, "-r") as client:
        assert client.read_only
        assert await client.read(0, client.size) == expected
        assert await client.read(KIB64 - 3, 700 * 1024 + 5) == expected[KIB64 - 3 :][: 700 * 1024 + 5]
        assert await client.read(5, 0) == b""
        async with aclosing(client.read_many([Extent(100, 3 * MIB), Extent(5 * MIB, 1)], depth=3)) as pieces:
            got = [piece async for piece in pieces]
    assert [at for at, _ in got] == [100, MIB, 2 * MIB, 3 * MIB, 5 * MIB]
    assert all(data == expected[at : at + len(data)] for at, data in got)


async def test_writes_zeroes_and_flush(tmp_path: Path) -> None:
    image, random_ = tmp_path / "disk.qcow2", random.Random(7)
    qemu_img("create", "-q", "-f", "qcow2", image, "80M")
    model = bytearray(80 * MIB)
    async with exported(image, "--discard=unmap") as client:
        for _ in range(60):
            at, length = random_.randrange(8 * MIB), random_.randrange(1, 300_000)
            if random_.random() < 0.7:
                data = random_.randbytes(length)
                await client.write(at, data)
                model[at : at + length] = data
            else:
                await client.zero(at, length)
                model[at : at + length] = bytes(length)
        big = random_.randbytes(35 * MIB)
        await client.write(40 * MIB, big)
        model[40 * MIB : 75 * MIB] = big
        await client.flush()
        assert await client.read(0, client.size) == model
        await client.zero(0, client.size)
        assert [each.zero for each in await client.extents(0, client.size)] == [True]
    assert '"actual-size"' in qemu_img("info", "--output=json", image)
    assert image.stat().st_blocks * 512 < MIB


async def test_a_write_to_a_read_only_export_is_refused_here(disk: Path) -> None:
    async with exported(disk, "-r") as client:
        with pytest.raises(BlockError) as caught:
            await client.write(0, b"x")
    assert caught.value.code == "NF-NBD-006"


async def test_a_killed_server_fails_all_waiters(disk: Path) -> None:
    async with exported(disk, "-r") as client:
        await client.read(0, 512)
    with pytest.raises(BlockError) as caught:
        await client.read(0, 512)
    assert caught.value.code == "NF-NBD-001"
    assert caught.value.retry == "later"


async def test_a_tebibyte_of_nothing(tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "1T")
    async with exported(image) as client:
        await client.write(700 * 1024**3, b"here")
        found = await client.extents(0, client.size)
        assert [(each.offset, each.zero) for each in found] == [
            (0, True),
            (700 * 1024**3, False),
            (700 * 1024**3 + KIB64, True),
        ]
