"""An ext2, ext3 or ext4 file system, read without mounting it: a guest's data never reaches this machine's kernel.

The journal is not replayed: of a snapshot that is as after a power cut, what was written in the last seconds may be
missing or half there. Format: kernel, Documentation/filesystems/ext4/.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from novafleet.errors import FileSystemError
from novafleet.filesystem import inode as inodes
from novafleet.filesystem.inode import ENCRYPTED, INLINE, Inode
from novafleet.filesystem.partition import Partition
from novafleet.ports import BlockSource

MAGIC = 0xEF53
ROOT = 2
PIECE = 1 << 20
LINKS = 40
"""Links followed on the way to a file, as the kernel does."""
DIRECTORY_MOST = 64 << 20
"""Bytes of a directory that are looked at."""
KNOWN = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
"""Features (s_feature_incompat) that do not hinder reading: filetype, recover, extents, 64bit, mmp, flex_bg, ea_inode,
csum_seed, largedir, inline_data, encrypt (such files are refused), casefold."""
ENTRY = struct.Struct("<IHBB")


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory, and the file it leads to. ``link`` is where a symbolic link points."""

    name: str
    inode: Inode
    link: str = ""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the superblock says."""

    block: int
    first: int
    per_group: int
    inode_size: int
    descriptor: int
    inodes: int


class ExtFileSystem:
    """Made by ``open``. Paths are absolute; links are followed within the file system."""

    def __init__(self, disk: BlockSource, at: Partition, geometry: Geometry, where: str) -> None:
        self._disk = disk
        self._at = at
        self._geometry = geometry
        self._where = where

    @classmethod
    async def open(cls, disk: BlockSource, at: Partition, where: str) -> ExtFileSystem:
        """Raises FileSystemError NF-FS-001 for what is no such file system, or has features nobody here knows."""
        data = await disk.read(at.offset + 1024, 1024) if at.length >= 2048 else bytes(1024)
        if int.from_bytes(data[56:58], "little") != MAGIC:
            raise FileSystemError(f"there is no ext2, ext3 or ext4 file system: {at.kind or 'unknown'}", where=where)
        incompatible = _number(data, 0x60)
        if unknown := incompatible & ~KNOWN:
            raise FileSystemError(f"the file system has features that cannot be read: {unknown:#x}", where=where)
        wide = incompatible & 0x80
        geometry = Geometry(
            block=1024 << min(_number(data, 0x18), 6),
            first=_number(data, 0x14),
            per_group=_number(data, 0x28),
            inode_size=_number(data, 0x58, 2) if _number(data, 0x4C) else 128,
            descriptor=_number(data, 0xFE, 2) if wide else 32,
            inodes=_number(data, 0x0),
        )
        if not geometry.per_group or geometry.inode_size < 128 or geometry.descriptor < 32:
            raise _damaged(where, "its superblock makes no sense")
        return cls(disk, at, geometry, where)

    async def entry(self, path: str, *, follow: bool = True) -> Entry:
        """The file at a path. Raises FileSystemError NF-FS-002 when there is none, NF-FS-003 for damage."""
        return await self._walk(path, LINKS, follow=follow)

    async def entries(self, directory: Entry) -> AsyncIterator[Entry]:
        """What is in a directory, without ``.`` and ``..``."""
        async for name, number in self._names(directory.inode):
            if name not in (".", ".."):
                yield await self._entry(name, number)

    async def content(self, entry: Entry) -> AsyncIterator[tuple[int, bytes]]:
        """``(offset, bytes)`` of a file; what is not yielded reads as zeroes, up to its size."""
        if entry.inode.flags & ENCRYPTED:
            raise FileSystemError(f"{entry.name} is encrypted by the guest", where=self._where)
        if (inside := entry.inode.inside) is not None:
            yield 0, inside
            return
        if entry.inode.flags & INLINE:
            raise FileSystemError(f"{entry.name} is kept in its attributes, which are not read", where=self._where)
        size, block = entry.inode.size, self._geometry.block
        try:
            async for run in inodes.runs(entry.inode, block, self._block):
                for at in range(0, run.count * block, PIECE):
                    offset = run.logical * block + at
                    count = min(PIECE, run.count * block - at, size - offset)
                    if count > 0:
                        yield offset, await self._read(run.physical * block + at, count)
        except (ValueError, struct.error) as exc:
            raise _damaged(self._where, str(exc)) from exc

    async def _walk(self, path: str, links: int, *, follow: bool) -> Entry:
        at = Entry("/", await self._inode(ROOT))
        names = [name for name in path.split("/") if name and name != "."]
        trail = [at]
        while names:
            name = names.pop(0)
            if name == "..":
                trail = trail[:-1] or trail
                continue
            found = await self._child(trail[-1], name, path)
            if found.inode.kind == "link" and (names or follow):
                if not links:
                    raise _absent(self._where, path, "too many links")
                links -= 1
                trail = trail[:1] if found.link.startswith("/") else trail
                names = [part for part in found.link.split("/") if part and part != "."] + names
                continue
            trail.append(found)
        return trail[-1]

    async def _child(self, parent: Entry, name: str, path: str) -> Entry:
        if parent.inode.kind == "directory":
            async for found, number in self._names(parent.inode):
                if found == name:
                    return await self._entry(name, number)
        raise _absent(self._where, path, f"there is no {name} in {parent.name}")

    async def _entry(self, name: str, number: int) -> Entry:
        inode = await self._inode(number)
        if inode.kind != "link":
            return Entry(name, inode)
        target = b"".join([data async for _, data in self.content(Entry(name, inode))])
        return Entry(name, inode, target[:4096].decode("utf-8", "surrogateescape"))

    async def _names(self, directory: Inode) -> AsyncIterator[tuple[str, int]]:
        """Names and inodes. The nodes of a hashed directory look like empty entries to us, as they shall."""
        if directory.size > DIRECTORY_MOST:
            raise _damaged(self._where, f"a directory of {directory.size} bytes")
        start = 4 if directory.inside is not None else 0  # of one kept inside, the parent's number comes first
        async for _, data in self.content(Entry("a directory", directory)):
            at = start
            while at + ENTRY.size <= len(data):
                number, length, count, _ = ENTRY.unpack_from(data, at)
                if length < ENTRY.size or at + length > len(data) or count > length - ENTRY.size:
                    raise _damaged(self._where, f"inode {directory.number} is a broken directory")
                name = data[at + ENTRY.size : at + ENTRY.size + count].decode("utf-8", "surrogateescape")
                if number and name and not {"/", "\0"} & set(name):
                    yield name, number
                at += length

    async def _inode(self, number: int) -> Inode:
        shape = self._geometry
        if not 0 < number <= shape.inodes:
            raise _damaged(self._where, f"there is no inode {number}")
        group, index = divmod(number - 1, shape.per_group)
        descriptor = await self._read((shape.first + 1) * shape.block + group * shape.descriptor, shape.descriptor)
        table = _number(descriptor, 8) | (_number(descriptor, 0x28) << 32 if shape.descriptor >= 64 else 0)
        place = table * shape.block + index * shape.inode_size
        return inodes.parse(number, await self._read(place, min(shape.inode_size, 256)))

    async def _block(self, number: int) -> bytes:
        return await self._read(number * self._geometry.block, self._geometry.block)

    async def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._at.length:
            raise _damaged(self._where, f"it names byte {offset}, behind its end")
        return await self._disk.read(self._at.offset + offset, length)


def _number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _damaged(where: str, cause: str) -> FileSystemError:
    return FileSystemError("the file system is damaged", code="NF-FS-003", where=where, cause=cause)


def _absent(where: str, path: str, cause: str) -> FileSystemError:
    return FileSystemError(f"there is no {path}", code="NF-FS-002", where=where, cause=cause)
