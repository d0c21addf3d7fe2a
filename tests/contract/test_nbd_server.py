"""Our NBD server read by QEMU's programs and by our client."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from pathlib import Path

import pytest

from novafleet.errors import BlockError
from novafleet.nbd.client import NbdClient, connect_nbd
from novafleet.nbd.server import serve_nbd
from novafleet.transport.local import listen_local, open_local
from tests.qemunbd import needs_qemu
from tests.unit.nbd.memory import CELL, MemoryDisk, served

MIB = 1024 * 1024


def content(size: int = 5 * MIB + 777) -> bytes:
    """Data, a hole, data, an odd end."""
    generator = random.Random(3)
    return (generator.randbytes(MIB) + bytes(2 * MIB) + generator.randbytes(size - 3 * MIB - 700) + bytes(700))[:size]


async def run(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A program while our loop serves it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return subprocess.CompletedProcess(words, process.returncode or 0, out, err)


def url(path: str, name: str = "disk") -> str:
    return f"nbd+unix:///{name}?socket={path}"


async def client(path: str, name: str = "disk") -> NbdClient:
    return await connect_nbd(await open_local(path), name)


@needs_qemu
@pytest.mark.parametrize("name", ["disk", ""])
async def test_qemu_img_converts_and_compares(tmp_path: Path, name: str) -> None:
    data, raw, copy = content(), tmp_path / "disk.raw", tmp_path / "copy.qcow2"
    raw.write_bytes(data)
    async with served(tmp_path, MemoryDisk(data)) as path:
        done = await run("qemu-img", "convert", "-O", "qcow2", url(path, name), copy)
        assert done.returncode == 0, done.stderr
        done = await run("qemu-img", "compare", "-f", "raw", "-F", "raw", url(path, name), raw)
        assert done.returncode == 0, done.stdout + done.stderr
    done = await run("qemu-img", "compare", "-F", "raw", copy, raw)
    assert done.returncode == 0, done.stdout
    assert copy.stat().st_blocks * 512 < 4 * MIB


@needs_qemu
async def test_qemu_img_sees_the_holes(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(content())) as path:
        done = await run("qemu-img", "map", "--output=json", url(path))
    found = [(each["start"], each["length"], each["zero"]) for each in json.loads(done.stdout)]
    assert found[:2] == [(0, MIB, False), (MIB, 2 * MIB, True)]


@needs_qemu
async def test_qemu_io_writes_where_it_may(tmp_path: Path) -> None:
    disk = MemoryDisk(content())
    words = ("-f", "raw", "-c", "write -P 9 100k 5k", "-c", "write -z 200k 64k", "-c", "flush")
    async with served(tmp_path, disk, write=True) as path:
        done = await run("qemu-io", *words, url(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert disk.content[102400 : 102400 + 5120] == b"\x09" * 5120
    assert not any(disk.content[204800 : 204800 + 65536])
    assert disk.flushed


@needs_qemu
async def test_qemu_io_may_not_write_otherwise(tmp_path: Path) -> None:
    disk = MemoryDisk(content())
    async with served(tmp_path, disk) as path:
        done = await run("qemu-io", "-f", "raw", "-c", "write -P 9 0 4k", url(path))
    assert done.returncode
    assert disk.content == content()


@needs_qemu
async def test_an_error_of_the_source_is_an_io_error_for_qemu(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(content(), bad=4 * MIB)) as path:
        done = await run("qemu-io", "-r", "-f", "raw", "-c", "read 4M 64k", "-c", "read 0 64k", url(path))
    assert b"Input/output error" in done.stdout + done.stderr
    assert b"65536/65536 bytes" in done.stdout


async def test_our_client_reads_our_server(tmp_path: Path) -> None:
    data = content()
    async with served(tmp_path, MemoryDisk(data)) as path:
        reader = await client(path)
        assert reader.size == len(data)
        assert await reader.read(0, len(data)) == data
        extents = await reader.extents(0, len(data))
        assert (extents[0].offset, extents[0].length, extents[0].zero) == (0, MIB, False)
        assert extents[1].zero
        await reader.close()


async def test_our_client_gets_the_words_of_an_error(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(content(), bad=MIB // 2)) as path:
        reader = await client(path)
        with pytest.raises(BlockError, match=r"READ of 1000000 bytes at offset 0 failed: EIO .*the medium is bad"):
            await reader.read(0, 1000000)
        assert len(await reader.read(MIB, 10)) == 10
        await reader.close()


async def test_beyond_the_end_is_refused_by_both(tmp_path: Path) -> None:
    disk = MemoryDisk(bytes(CELL))
    async with served(tmp_path, disk, write=True) as path:
        writer = await client(path)
        with pytest.raises(ValueError, match="not inside"):
            await writer.read(0, CELL + 1)
        object.__setattr__(writer._export, "size", 2 * CELL)
        for attempt in (writer.read(CELL, 1), writer.write(CELL, b"x"), writer.zero(0, CELL + 1)):
            with pytest.raises(BlockError, match=r"EINVAL|ENOSPC"):
                await attempt
        await writer.close()


async def test_exports_are_told_apart(tmp_path: Path) -> None:
    exports = {"a": MemoryDisk(b"a" * 10), "b": MemoryDisk(b"b" * 20)}
    async with listen_local(str(tmp_path / "s"), lambda channel: serve_nbd(channel, exports)) as path:
        second = await client(path, "b")
        assert await second.read(0, 20) == b"b" * 20
        await second.close()
        with pytest.raises(BlockError) as caught:
            await client(path, "")
    assert caught.value.code == "NF-NBD-003"
