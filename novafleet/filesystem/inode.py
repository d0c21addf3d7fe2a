"""Inodes of ext2/3/4 and where their content lies (kernel: Documentation/filesystems/ext4/)."""

from __future__ import annotations

import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count

INODE = struct.Struct("<HHIIIIIHHII4x60s")
EXTENT_HEADER = struct.Struct("<HHHHI")
EXTENT = struct.Struct("<IHHI")
INDEX = struct.Struct("<IIH2x")
EXTENT_MAGIC = 0xF30A
UNWRITTEN = 32768
"""Lengths above it mean blocks that are set aside and read as zeroes."""
DEPTH = 5
NODES_MOST = 1 << 18
"""Blocks of one file's map that are read: 256 GiB of an ext3 file. A map that leads in circles ends there."""
USES_EXTENTS, INLINE, ENCRYPTED = 0x80000, 0x10000000, 0x800
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}

ReadBlock = Callable[[int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Inode:
    """One file. ``block`` is its map of blocks, or its content."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    flags: int
    block: bytes

    @property
    def kind(self) -> str:
        """file | directory | link | device | pipe | socket."""
        return KINDS.get(stat.S_IFMT(self.mode), "unknown")

    @property
    def inside(self) -> bytes | None:
        """The content of one that holds it itself: a short link, or a tiny file of a file system with inline data."""
        short = self.kind == "link" and self.size < len(self.block) and not self.flags & USES_EXTENTS
        return self.block[: self.size] if short or (self.flags & INLINE and self.size <= len(self.block)) else None


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` blocks from block ``logical`` of a file, at block ``physical`` of the file system."""

    logical: int
    physical: int
    count: int


def parse(number: int, data: bytes) -> Inode:
    """From the bytes of the inode table. Raises ValueError for too few."""
    if len(data) < 128:
        raise ValueError(f"inode {number} has {len(data)} bytes")
    mode, uid, size, _, _, mtime, _, gid, _, _, flags, block = INODE.unpack_from(data)
    high = int.from_bytes(data[108:112], "little") if stat.S_ISREG(mode) else 0
    return Inode(number, mode, uid, gid, size | high << 32, mtime, flags, block)


async def runs(inode: Inode, block_size: int, read: ReadBlock) -> AsyncIterator[Run]:
    """Where the content is, in order; what lies between runs reads as zeroes. Raises ValueError for a broken map."""
    end = -(-inode.size // block_size)
    behind, nodes = 0, count(1)

    async def counted(number: int) -> bytes:
        if next(nodes) > NODES_MOST:
            raise ValueError(f"the map of inode {inode.number} has no end")
        return await read(number)

    tree = inode.flags & USES_EXTENTS
    walk = _extents(inode.block, counted, DEPTH) if tree else _pointers(inode.block, block_size, counted)
    async for run in walk:
        if run.logical < behind:
            raise ValueError(f"the blocks of inode {inode.number} are out of order")
        if run.logical >= end:
            return
        behind = run.logical + run.count
        yield Run(run.logical, run.physical, min(run.count, end - run.logical))


async def _extents(node: bytes, read: ReadBlock, depth: int) -> AsyncIterator[Run]:
    magic, entries, _, level, _ = EXTENT_HEADER.unpack_from(node)
    if magic != EXTENT_MAGIC or level > depth or EXTENT_HEADER.size + entries * EXTENT.size > len(node):
        raise ValueError("a tree of extents is broken")
    for index in range(entries):
        at = EXTENT_HEADER.size + index * EXTENT.size
        if level:
            _, low, high = INDEX.unpack_from(node, at)
            async for run in _extents(await read(low | high << 32), read, level - 1):
                yield run
        else:
            logical, length, high, low = EXTENT.unpack_from(node, at)
            if length <= UNWRITTEN:
                yield Run(logical, low | high << 32, length)


async def _pointers(block: bytes, block_size: int, read: ReadBlock) -> AsyncIterator[Run]:
    """The map of ext2 and ext3: twelve blocks, then one, two and three levels of lists."""
    per = block_size // 4
    for index, physical in enumerate(_numbers(block[:48])):
        if physical:
            yield Run(index, physical, 1)
    first = 12
    for level in (1, 2, 3):
        async for run in _list(
            int.from_bytes(block[44 + 4 * level : 48 + 4 * level], "little"), level, first, per, read
        ):
            yield run
        first += per**level


async def _list(number: int, level: int, first: int, per: int, read: ReadBlock) -> AsyncIterator[Run]:
    if not number:
        return
    for index, physical in enumerate(_numbers(await read(number))):
        at = first + index * per ** (level - 1)
        if physical and level == 1:
            yield Run(at, physical, 1)
        elif physical:
            async for run in _list(physical, level - 1, at, per, read):
                yield run


def _numbers(data: bytes) -> Iterator[int]:
    return (number for (number,) in struct.iter_unpack("<I", data))
