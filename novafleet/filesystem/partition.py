"""What a disk is divided into: GPT, MBR with logical partitions, or one file system alone; and what lies there."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from novafleet.ports import BlockSource

SECTOR = 512
MBR_ENTRY = struct.Struct("<B3xB3xII")
GPT_HEADER = struct.Struct("<QII")
"""At byte 72 of the header: where the entries are, how many, and how long each is (UEFI 2.10, 5.3.2)."""
GPT_ENTRY = struct.Struct("<16s16sQQQ72s")
GPT_MOST = 1024
EXTENDED = frozenset((0x05, 0x0F, 0x85))
PROTECTIVE = 0xEE
LOGICAL_MOST = 64
SIGNATURES = (
    (1080, b"\x53\xef", "ext4"),
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"LUKS\xba\xbe", "luks"),
    (512, b"LABELONE", "lvm"),
    (3, b"NTFS    ", "ntfs"),
    (54, b"FAT1", "fat"),
    (82, b"FAT32", "fat"),
    (4086, b"SWAPSPACE2", "swap"),
    (32769, b"CD001", "iso9660"),
)
"""Where a kind of content says what it is. ``ext4`` stands for ext2 and ext3 too."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of a disk, by its number (0: the whole disk). ``kind``: ext4 | xfs | … , empty when nobody knows."""

    number: int
    offset: int
    length: int
    kind: str = ""
    name: str = ""


async def partitions(disk: BlockSource) -> tuple[Partition, ...]:
    """All of them, in the order of their numbers; one that reaches beyond the disk is left out."""
    sector = await _read(disk, 0, SECTOR)
    kind = await content_kind(disk, 0, disk.size)
    if sector[510:512] != b"\x55\xaa" or kind == "ext4":
        return (Partition(0, 0, disk.size, kind),)
    found = []
    async for number, offset, length, name in _entries(disk, sector):
        if length > 0 and offset + length <= disk.size:
            found.append(Partition(number, offset, length, await content_kind(disk, offset, length), name))
    return tuple(found) or (Partition(0, 0, disk.size, kind),)


async def content_kind(disk: BlockSource, offset: int, length: int) -> str:
    """What lies there, by its signature."""
    for at, magic, kind in SIGNATURES:
        if at + len(magic) <= length and await disk.read(offset + at, len(magic)) == magic:
            return kind
    return ""


async def _entries(disk: BlockSource, sector: bytes) -> AsyncIterator[tuple[int, int, int, str]]:
    table = [MBR_ENTRY.unpack_from(sector, 446 + 16 * index) for index in range(4)]
    if any(kind == PROTECTIVE for _, kind, _, _ in table):
        async for entry in _gpt(disk):
            yield entry
        return
    for index, (_, kind, first, count) in enumerate(table):
        if kind in EXTENDED:
            async for logical in _logical(disk, first):
                yield logical
        elif kind:
            yield index + 1, first * SECTOR, count * SECTOR, ""


async def _logical(disk: BlockSource, base: int) -> AsyncIterator[tuple[int, int, int, str]]:
    """The chain of logical partitions in an extended one."""
    at = base
    for number in range(5, 5 + LOGICAL_MOST):
        sector = await _read(disk, at * SECTOR, SECTOR)
        if sector[510:512] != b"\x55\xaa":
            return
        (_, kind, first, count), (_, _, following, _) = (MBR_ENTRY.unpack_from(sector, place) for place in (446, 462))
        if kind:
            yield number, (at + first) * SECTOR, count * SECTOR, ""
        if not following:
            return
        at = base + following


async def _gpt(disk: BlockSource) -> AsyncIterator[tuple[int, int, int, str]]:
    header = await _read(disk, SECTOR, SECTOR)
    start, count, size = GPT_HEADER.unpack_from(header, 72)
    if header[:8] != b"EFI PART" or count > GPT_MOST or not GPT_ENTRY.size <= size <= SECTOR * 8:
        return
    table = await _read(disk, start * SECTOR, count * size)
    for index in range(count):
        kind, _, first, last, _, name = GPT_ENTRY.unpack_from(table, index * size)
        if any(kind) and last >= first:
            words = name.decode("utf-16-le", "replace").partition("\0")[0]
            yield index + 1, first * SECTOR, (last - first + 1) * SECTOR, words


async def _read(disk: BlockSource, offset: int, length: int) -> bytes:
    """Bytes of a disk; zeroes behind its end."""
    there = max(0, min(length, disk.size - offset))
    return (await disk.read(offset, there) if there else b"").ljust(length, b"\0")
