"""Packs: about 32 MiB of sealed chunks in one object, ``packs/aa/NAME``, NAME the BLAKE3 of its bytes.

header | sealed entries | sealed table | plain table | footer. The sealed table says what the entries are; the plain
one (offset, length and BLAKE3 of each sealed entry) lets anybody verify, copy and salvage a pack without a key.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from novafleet.ports import ObjectStore
from novafleet.repository.compress import Codec
from novafleet.repository.seal import HEADER, NO_ID, PACK, TAG, VERSION, Cipher, Keyring, Kind, damaged, newer, unseal

PREFIX = "packs/"
TARGET = 32 << 20
"""Bytes after which a pack is closed."""
TABLES = 1 << 20
"""Room behind the entries, which the tables of a pack of disk content need little of."""
SEALED = struct.Struct("<BB32sI")
"""An entry of the sealed table: kind, codec, id, plain size."""
PLAIN = struct.Struct("<II32s")
"""An entry of the plain table: offset, length, BLAKE3 of these bytes. The last one is the sealed table itself."""
FOOTER = struct.Struct("<II32s6sH")
"""Number of entries, offset of the plain table, BLAKE3 of the plain table, magic, version."""
END = b"NFPEND"
MAX_ENTRIES = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Sealed bytes in a pack, as the plain table lists them."""

    offset: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk in a pack. ``length`` is that of the sealed bytes, ``size`` of the content."""

    id: bytes
    kind: Kind
    codec: Codec
    offset: int
    length: int
    size: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished pack."""

    name: str
    salt: bytes
    content: memoryview
    entries: tuple[Entry, ...]


def key_of(name: str) -> str:
    """Where the pack of this name lies."""
    return f"{PREFIX}{name[:2]}/{name}"


class Draft:
    """A pack being filled. ``place`` and ``put`` are called under the owner's lock; sealing happens outside it, where
    the sealed bytes are to lie: ``least`` is how long the first of them is."""

    def __init__(self, keyring: Keyring, least: int) -> None:
        header, self.cipher = keyring.begin(PACK)
        room = max(TARGET, len(header) + least) + TABLES
        self._content = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE)  # what is not touched costs nothing
        self._content[: len(header)] = header
        self.end = len(header)
        self.closed = False
        self._entries: list[Entry] = []
        self._missing = 0

    def place(self, chunk: bytes, kind: Kind, codec: Codec, stored: int, size: int) -> Entry:
        """Take the next place for a body of ``stored`` bytes."""
        entry = Entry(chunk, kind, codec, self.end, stored + TAG, size)
        self._entries.append(entry)
        self._missing += 1
        self.end += entry.length
        return entry

    def room(self, entry: Entry) -> memoryview:
        """Where its sealed bytes lie."""
        return memoryview(self._content)[entry.offset : entry.offset + entry.length]

    def put(self) -> None:
        """A place was filled."""
        self._missing -= 1

    @property
    def complete(self) -> bool:
        """Closed, and every place filled."""
        return self.closed and not self._missing

    def assemble(self) -> Sealed:
        """The pack; only once ``complete``."""
        rows = b"".join(SEALED.pack(each.kind, each.codec, each.id, each.size) for each in self._entries)
        toc = self.cipher.seal(rows, self.end, Kind.TOC, Codec.RAW, NO_ID, len(rows))
        pieces = [(entry.offset, entry.length, blake3(self.room(entry)).digest()) for entry in self._entries]
        table = b"".join(PLAIN.pack(*piece) for piece in [*pieces, (self.end, len(toc), blake3(toc).digest())])
        footer = FOOTER.pack(len(self._entries), self.end + len(toc), blake3(table).digest(), END, VERSION)
        tail = b"".join((toc, table, footer))
        end = self.end + len(tail)
        if end <= len(self._content):
            self._content[self.end : end] = tail
            content = memoryview(self._content)[:end]
        else:
            content = memoryview(self._content[: self.end] + tail)
        return Sealed(blake3(content).hexdigest(), self.cipher.salt, content, tuple(self._entries))


async def tables(store: ObjectStore, name: str) -> tuple[tuple[Piece, ...], bytes]:
    """The plain table of a pack, and its header. Needs no key. Raises RepositoryError NF-REPO-010, MissingObjectError.

    Two to three small reads; the pieces are the chunks in order, then the sealed table.
    """
    key = key_of(name)
    where = f"{store.url}: {key}"
    size = (await store.stat(key)).size
    if size < HEADER.size + FOOTER.size:
        raise damaged(where, "it is cut short")
    tail = await store.get(key, max(0, size - (64 << 10)))
    count, start, digest, magic, version = FOOTER.unpack(tail[-FOOTER.size :])
    if magic != END:
        raise damaged(where, "its end is missing")
    if version != VERSION:
        raise newer(where, f"version {version}")
    if count > MAX_ENTRIES or start + (count + 1) * PLAIN.size + FOOTER.size != size:
        raise damaged(where, "its table does not fit its size")
    length = size - start
    if length > len(tail):
        tail = await store.get(key, start)
    table = tail[len(tail) - length : -FOOTER.size]
    if blake3(table).digest() != digest:
        raise damaged(where, "its table is damaged")
    return _pieces(table, start, where), await store.get(key, 0, HEADER.size)


def _pieces(table: bytes, end: int, where: str) -> tuple[Piece, ...]:
    pieces = tuple(Piece(*row) for row in PLAIN.iter_unpack(table))
    at = HEADER.size
    for piece in pieces:
        if piece.offset != at or piece.length < TAG:
            raise damaged(where, "its table is not in order")
        at += piece.length
    if at != end:
        raise damaged(where, "its table does not fit its size")
    return pieces


async def entries(store: ObjectStore, keyring: Keyring, name: str) -> tuple[bytes, tuple[Entry, ...]]:
    """Salt and chunks of a pack, from its own tables: what an index is rebuilt from."""
    where = f"{store.url}: {key_of(name)}"
    pieces, header = await tables(store, name)
    cipher = keyring.header(header, PACK, where)
    *chunks, toc = pieces
    rows = await _rows(store, name, cipher, toc, len(chunks))
    found = [_entry(row, piece, where) for row, piece in zip(SEALED.iter_unpack(rows), chunks, strict=True)]
    return cipher.salt, tuple(found)


async def _rows(store: ObjectStore, name: str, cipher: Cipher, toc: Piece, count: int) -> bytes:
    key = key_of(name)
    sealed = await store.get(key, toc.offset, toc.length)
    return unseal(cipher, sealed, toc.offset, Kind.TOC, Codec.RAW, NO_ID, count * SEALED.size, f"{store.url}: {key}")


def _entry(row: Sequence[object], piece: Piece, where: str) -> Entry:
    kind, codec, chunk, size = row
    assert isinstance(kind, int)
    assert isinstance(codec, int)
    assert isinstance(chunk, bytes)
    assert isinstance(size, int)
    try:
        return Entry(chunk, Kind(kind), Codec(codec), piece.offset, piece.length, size)
    except ValueError as exc:
        raise damaged(where, str(exc)) from exc
