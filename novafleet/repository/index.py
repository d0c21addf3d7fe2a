"""Where every chunk is: sorted segments in the store (``index/WRITER-NUMBER``), one compact table in memory.

10 TiB of 1 MiB chunks are 10.5 million entries: 16 bytes each in memory, none of them a Python object, and 18 in an
anonymous temporary file, which are looked at when a chunk was found. The first 12 bytes of the id are kept: that two
chunks of so many agree in them has a probability of 2^-50, and as ids are keyed nobody can make them. What is read is
verified by its whole id.
"""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from novafleet.errors import SpaceError
from novafleet.repository.compress import Codec
from novafleet.repository.pack import Entry
from novafleet.repository.seal import INDEX, Keyring, Kind, damaged

PREFIX = "index/"
COUNTS = struct.Struct("<II")
"""Number of packs, number of entries."""
PACKROW = struct.Struct("<32s32s")
"""Name and salt of a pack."""
ROW = struct.Struct("<32sIIIIBB")
"""Id, number of the pack in this segment, offset, length, plain size, kind, codec; sorted by id."""
KEPT = 12
RECORD = struct.Struct("<12sI")
"""In memory: beginning of the id, number of its detail."""
DETAIL = struct.Struct("<IIIIBB")
"""In a temporary file: number of the pack, offset, length, plain size, kind, codec."""
FLUSH = 1 << 16


class Location(NamedTuple):
    """Where a chunk is, and how it was sealed."""

    pack: str
    salt: bytes
    offset: int
    length: int
    size: int
    kind: Kind
    codec: Codec


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack as an index lists it."""

    name: str
    salt: bytes
    entries: tuple[Entry, ...]


def encode(packs: Iterable[Packed], keyring: Keyring) -> bytes:
    """A segment."""
    listed = list(packs)
    rows = sorted(
        ROW.pack(each.id, number, each.offset, each.length, each.size, each.kind, each.codec)
        for number, packed in enumerate(listed)
        for each in packed.entries
    )
    table = b"".join(PACKROW.pack(bytes.fromhex(packed.name), packed.salt) for packed in listed)
    return keyring.seal(INDEX, Kind.INDEX, b"".join([COUNTS.pack(len(listed), len(rows)), table, *rows]))


def unseal(sealed: bytes, keyring: Keyring, where: str) -> tuple[memoryview, memoryview]:
    """Pack table and rows of a segment. Raises RepositoryError NF-REPO-010."""
    content = memoryview(keyring.unseal(INDEX, Kind.INDEX, sealed, where))
    if len(content) < COUNTS.size:
        raise damaged(where, "it is cut short")
    packs, rows = COUNTS.unpack_from(content)
    middle = COUNTS.size + packs * PACKROW.size
    if middle + rows * ROW.size != len(content):
        raise damaged(where, "its counts do not fit its size")
    return content[COUNTS.size : middle], content[middle:]


def packed(table: memoryview, rows: memoryview) -> Iterator[Packed]:
    """A segment's packs with whole ids: for checks, and for writing segments anew."""
    found: list[list[Entry]] = [[] for _ in range(len(table) // PACKROW.size)]
    for chunk, number, offset, length, size, kind, codec in ROW.iter_unpack(rows):
        found[number].append(Entry(chunk, Kind(kind), Codec(codec), offset, length, size))
    for (name, salt), entries in zip(PACKROW.iter_unpack(table), found, strict=True):
        yield Packed(name.hex(), salt, tuple(entries))


class Index:
    """The table. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs = bytearray()
        self._fresh: dict[bytes, bytes] = {}
        self._buckets = [bytearray() for _ in range(256)]
        self._unsorted: set[int] = set()
        self._details = _anonymous_file()
        weakref.finalize(self, os.close, self._details)
        self.chunks = 0

    def load(self, table: memoryview, rows: memoryview) -> None:
        """Take in a segment. Raises SpaceError."""
        content = bytes(rows)
        with self._lock:
            details = _details(content, len(self._packs) // PACKROW.size)
            self._packs += table
            self._spread(_records(content, self._append(details)))

    def add(self, packed: Packed) -> None:
        """Take in a pack that was just stored. Raises SpaceError."""
        with self._lock:
            pack = len(self._packs) // PACKROW.size
            self._packs += PACKROW.pack(bytes.fromhex(packed.name), packed.salt)
            first = self._append(
                b"".join(
                    DETAIL.pack(pack, each.offset, each.length, each.size, each.kind, each.codec)
                    for each in packed.entries
                )
            )
            for number, each in enumerate(packed.entries, first):
                self._fresh[each.id[:KEPT]] = RECORD.pack(each.id[:KEPT], number)
            if len(self._fresh) >= FLUSH:
                self._spread(b"".join(sorted(self._fresh.values())))
                self._fresh = {}

    def locations(self, chunk: bytes) -> tuple[Location, ...]:
        """Every place a chunk is at: more than one after a repair, or when two writers had the same content."""
        with self._lock:
            return tuple(self._location(number) for number in self._numbers(chunk[:KEPT]))

    def _location(self, number: int) -> Location:
        detail = os.pread(self._details, DETAIL.size, number * DETAIL.size)
        pack, offset, length, size, kind, codec = DETAIL.unpack(detail)
        name, salt = PACKROW.unpack_from(self._packs, pack * PACKROW.size)
        return Location(name.hex(), salt, offset, length, size, Kind(kind), Codec(codec))

    def _append(self, details: bytes) -> int:
        """The number of the first of them."""
        first, done = self.chunks, 0
        try:
            while done < len(details):
                done += os.pwrite(self._details, details[done:], first * DETAIL.size + done)
        except OSError as exc:
            raise SpaceError("the index finds no room in the directory for temporary files", cause=str(exc)) from exc
        self.chunks += len(details) // DETAIL.size
        return first

    def packs(self) -> frozenset[str]:
        """The names of all packs listed."""
        with self._lock:
            return frozenset(name.hex() for name, _ in PACKROW.iter_unpack(self._packs))

    def _spread(self, records: bytes) -> None:
        firsts = records[:: RECORD.size]
        start = 0
        for bucket in sorted(set(firsts)):
            end = bisect_left(firsts, bucket + 1, lo=start)
            if self._buckets[bucket]:
                self._unsorted.add(bucket)
            self._buckets[bucket] += memoryview(records)[start * RECORD.size : end * RECORD.size]
            start = end

    def _numbers(self, key: bytes) -> Iterator[int]:
        if key in self._fresh:
            yield RECORD.unpack(self._fresh[key])[1]
        records = self._bucket(key[0])
        size = RECORD.size
        low, high = 0, len(records) // size
        while low < high:
            middle = (low + high) // 2
            if records[middle * size : middle * size + KEPT] < key:
                low = middle + 1
            else:
                high = middle
        while records[low * size : low * size + KEPT] == key:
            yield RECORD.unpack_from(records, low * size)[1]
            low += 1

    def _bucket(self, number: int) -> bytearray:
        """Records of one bucket, sorted when first asked for: the table is never there twice."""
        if number in self._unsorted:
            records, size = self._buckets[number], RECORD.size
            ordered = sorted([records[at : at + size] for at in range(0, len(records), size)])
            records[:] = b"".join(ordered)  # in place: memory given back here is no use to other threads
            self._unsorted.remove(number)
        return self._buckets[number]


def _records(content: bytes, first: int) -> bytes:
    """Rows of a segment as records, column by column: strided copies run in C."""
    count = len(content) // ROW.size
    numbers = struct.pack(f"<{count}I", *range(first, first + count))
    records = bytearray(count * RECORD.size)
    for column in range(KEPT):
        records[column :: RECORD.size] = content[column :: ROW.size]
    for column in range(4):
        records[KEPT + column :: RECORD.size] = numbers[column::4]
    return bytes(records)


def _details(content: bytes, base: int) -> bytes:
    """What follows the ids in the rows, pack numbers moved up by ``base``."""
    details = bytearray(len(content) // ROW.size * DETAIL.size)
    for column in range(DETAIL.size):
        details[column :: DETAIL.size] = content[32 + column :: ROW.size]
    packs = bytearray(len(content) // ROW.size * 4)
    for column in range(4):
        packs[column::4] = details[column :: DETAIL.size]
    moved = struct.pack(f"<{len(packs) // 4}I", *(base + number for (number,) in struct.iter_unpack("<I", packs)))
    for column in range(4):
        details[column :: DETAIL.size] = moved[column::4]
    return bytes(details)


def _anonymous_file() -> int:
    try:
        descriptor, name = tempfile.mkstemp(prefix="novafleet-index-")
        os.unlink(name)  # noqa: PTH108 - gone for everybody but us, whatever becomes of us
    except OSError as exc:
        raise SpaceError("the index finds no room in the directory for temporary files", cause=str(exc)) from exc
    return descriptor
