"""Real file systems made by mkfs, read back; and broken ones, which never lead to anything but an error."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import FileSystemError
from novafleet.filesystem.ext import Entry, ExtFileSystem
from novafleet.filesystem.partition import partitions
from tests.unit.nbd.memory import MemoryDisk

MIB = 1 << 20
needs_mkfs = pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="not installed: mkfs.ext4 (e2fsprogs)")
LAYOUTS = {
    "ext4": ("-t", "ext4"),
    "ext4, 1 KiB blocks": ("-t", "ext4", "-b", "1024"),
    "ext4, small": ("-t", "ext4", "-O", "^64bit,^flex_bg", "-I", "128"),
    "ext4, inline": ("-t", "ext4", "-O", "inline_data"),
    "ext3": ("-t", "ext3"),
    "ext2, 1 KiB blocks": ("-t", "ext2", "-b", "1024"),
}


def tree(folder: Path) -> Path:
    """A folder with what a guest has: text, big and sparse files, many names, links."""
    root, generator = folder / "root", random.Random(1)
    (root / "etc/network").mkdir(parents=True)
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/empty").touch()
    (root / "etc/big").write_bytes(generator.randbytes(3 * MIB + 77))
    with (root / "etc/sparse").open("wb") as file:
        file.seek(5 * MIB)
        file.write(b"end")
    (root / "many").mkdir()
    for number in range(600):
        (root / "many" / f"file-with-a-long-name-{number:05}").write_text(str(number))
    (root / "link").symlink_to("etc/hostname")
    (root / "absolute").symlink_to("/etc")
    (root / "long").symlink_to("etc/" + "./" * 60 + "hostname")
    (root / "circle").symlink_to("circle")
    (root / "etc/up").symlink_to("../etc/network/../hostname")
    return root


def made(folder: Path, *options: str, root: Path | None = None, size: str = "24M") -> bytes:
    """The image of a file system."""
    image = folder / "image"
    words = ("mkfs.ext4", "-q", "-F", *options, *(("-d", str(root)) if root else ()), str(image), size)
    subprocess.run(words, check=True, capture_output=True)
    return image.read_bytes()


async def opened(image: bytes) -> ExtFileSystem:
    disk = MemoryDisk(image)
    [only] = await partitions(disk)
    return await ExtFileSystem.open(disk, only, "disk")


async def content(system: ExtFileSystem, entry: Entry) -> bytes:
    found = bytearray(entry.inode.size)
    async for offset, data in system.content(entry):
        found[offset : offset + len(data)] = data
    return bytes(found)


@needs_mkfs
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_everything_reads_back(tmp_path: Path, layout: str) -> None:
    root = tree(tmp_path)
    system = await opened(made(tmp_path, *LAYOUTS[layout], root=root))
    for name in ("etc/hostname", "etc/empty", "etc/big", "etc/sparse", "many/file-with-a-long-name-00599"):
        assert await content(system, await system.entry(f"/{name}")) == (root / name).read_bytes(), name
    many = [entry.name async for entry in system.entries(await system.entry("/many"))]
    assert sorted(many) == sorted(each.name for each in (root / "many").iterdir())
    for link in ("/link", "/absolute/hostname", "/long", "/etc/up", "link", "/absolute/../link"):
        assert await content(system, await system.entry(link)) == b"guest\n", link
    top = {entry.name: (entry.inode.kind, entry.link) async for entry in system.entries(await system.entry("/"))}
    assert top["link"] == ("link", "etc/hostname")
    assert top["etc"] == ("directory", "")
    assert (await system.entry("/link", follow=False)).inode.kind == "link"


@needs_mkfs
@pytest.mark.parametrize("path", ["/nothing", "/etc/hostname/x", "/circle", "/etc/nothing/x"])
async def test_what_is_not_there_is_said(tmp_path: Path, path: str) -> None:
    system = await opened(made(tmp_path, root=tree(tmp_path)))
    with pytest.raises(FileSystemError) as caught:
        await system.entry(path)
    assert caught.value.code == "NF-FS-002"


async def read_all(image: bytes) -> None:
    """Everything there is, or a FileSystemError."""
    system = await opened(image)
    left, seen = ["/"], 0
    while left and seen < 300:
        folder = left.pop()
        async for entry in system.entries(await system.entry(folder, follow=False)):
            seen += 1
            if entry.inode.kind == "directory":
                left.append(f"{folder}/{entry.name}")
            elif entry.inode.kind == "file":
                _ = [None async for _ in system.content(entry)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    (folder / "root/a/b").mkdir(parents=True)
    (folder / "root/a/file").write_bytes(os.urandom(100_000))
    return made(folder, "-b", "1024", "-O", "^has_journal", root=folder / "root", size="1M")


@pytest.fixture(scope="module")
def used(good: bytes) -> list[int]:
    """Places that hold something."""
    return [at for at in range(0, len(good), 16) if any(good[at : at + 16])][:2000]


@needs_mkfs
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 15), st.integers(0, 255)), max_size=4))
async def test_damage_is_an_error_or_nothing(good: bytes, used: list[int], changes: list[tuple[int, int, int]]) -> None:
    image = bytearray(good)
    for place, more, value in changes:
        image[used[place % len(used)] + more] = value
    try:
        await read_all(bytes(image))
    except FileSystemError as error:
        assert error.code.startswith("NF-FS-")


@needs_mkfs
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(1024, 2047), value=st.binary(min_size=4, max_size=4))
async def test_a_superblock_that_lies(good: bytes, at: int, value: bytes) -> None:
    image = bytearray(good)
    image[at : at + 4] = value
    try:
        await read_all(bytes(image))
    except FileSystemError as error:
        assert error.code.startswith("NF-FS-")


def mbr(*entries: tuple[int, int, int]) -> bytes:
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*entries: tuple[int, int, str]) -> bytes:
    header = (b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, len(entries), 128)).ljust(512, b"\0")
    rows = [
        struct.pack("<16s16sQQQ72s", b"t" * 16, b"u" * 16, first, last, 0, name.encode("utf-16-le"))
        for first, last, name in entries
    ]
    return mbr((0xEE, 1, 2**32 - 1)) + header + b"".join(rows).ljust(16384, b"\0")


@needs_mkfs
async def test_partitions(good: bytes) -> None:
    disk = MemoryDisk((gpt((2048, 4095, "EFI"), (4096, 4095 + len(good) // 512, "root"))).ljust(2 * MIB, b"\0") + good)
    found = await partitions(disk)
    assert [(each.number, each.offset, each.kind, each.name) for each in found] == [
        (1, MIB, "", "EFI"),
        (2, 2 * MIB, "ext4", "root"),
    ]
    system = await ExtFileSystem.open(disk, found[1], "disk")
    assert (await system.entry("/a/file")).inode.size == 100_000
    with pytest.raises(FileSystemError) as caught:
        await ExtFileSystem.open(disk, found[0], "disk")
    assert caught.value.code == "NF-FS-001"


async def test_logical_partitions_and_nonsense() -> None:
    first = mbr((0x83, 1, 10), (0x05, 100, 1000), (0x83, 5000, 2**32 - 1))
    extended = mbr((0x83, 2, 20), (0x05, 50, 60))
    disk = bytearray(MIB)
    disk[:512] = first
    disk[100 * 512 : 101 * 512] = extended
    disk[150 * 512 : 151 * 512] = mbr((0x83, 3, 30))
    found = await partitions(MemoryDisk(disk))
    assert [(each.number, each.offset // 512, each.length // 512) for each in found] == [
        (1, 1, 10),
        (5, 102, 20),
        (6, 153, 30),
    ]
    assert [each.number for each in await partitions(MemoryDisk(bytes(MIB)))] == [0]
    assert [each.number for each in await partitions(MemoryDisk(b"tiny"))] == [0]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000))
async def test_any_bytes_are_some_partitions(junk: bytes) -> None:
    disk = bytearray(junk.ljust(2048, b"\0"))
    disk[510:512] = b"\x55\xaa"
    assert await partitions(MemoryDisk(disk))
