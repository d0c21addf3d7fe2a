"""The part of writing that runs in threads: hash, look up, compress, seal, verify, assemble packs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from novafleet.errors import RepositoryError
from novafleet.repository import pack
from novafleet.repository.chunkmap import ZERO
from novafleet.repository.compress import Codec, compress, inflate
from novafleet.repository.index import Index
from novafleet.repository.pack import Draft, Entry, Sealed
from novafleet.repository.seal import TAG, Cipher, Keyring, Kind

PROBE = 4096
_own = threading.local()


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of some content: its id, the bytes it added to a pack, and packs that are full now."""

    id: bytes
    added: int
    packs: tuple[Sealed, ...] = ()


class Sealer:
    """``store`` may be called from several threads at once; zstd, BLAKE3 and AES let go of the interpreter's lock.

    ``avoid`` are packs on their way out: a chunk that is only there is stored again.
    """

    def __init__(self, keyring: Keyring, index: Index, avoid: frozenset[str]) -> None:
        self._keyring = keyring
        self._index = index
        self._avoid = avoid
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._open: dict[bool, Draft] = {}
        self._closed: list[Draft] = []

    def store(self, kind: Kind, content: bytes) -> Stored:
        """Put content into a pack unless it is all zero (data only) or stored already."""
        if kind is Kind.DATA and _is_zero(content):
            return Stored(ZERO, 0)
        chunk = self._keyring.chunk_id(kind, content)
        if not self._claim(chunk):
            return Stored(chunk, 0)
        body, codec = compress(content)
        with self._lock:
            draft = self._draft(kind, len(body) + TAG)
            entry = draft.place(chunk, kind, codec, len(body), len(content))
        with draft.room(entry) as room:
            draft.cipher.seal_into(room, body, entry.offset, kind, codec, chunk, len(content))
            _verify(draft.cipher, entry, room, content)
        with self._lock:
            draft.put()
            complete = self._complete()
        return Stored(chunk, entry.length, tuple(each.assemble() for each in complete))

    def close(self) -> tuple[Sealed, ...]:
        """The packs still open. One that a running ``store`` has a place in is returned by that ``store``."""
        with self._lock:
            for draft in self._open.values():
                draft.closed = True
                self._closed.append(draft)
            self._open.clear()
            complete = self._complete()
        return tuple(each.assemble() for each in complete)

    def settled(self, entries: Iterable[Entry]) -> None:
        """These are in the index now."""
        with self._lock:
            self._claimed.difference_update(entry.id for entry in entries)

    def _claim(self, chunk: bytes) -> bool:
        with self._lock:
            if chunk in self._claimed:
                return False
            if any(found.pack not in self._avoid for found in self._index.locations(chunk)):
                return False
            self._claimed.add(chunk)
            return True

    def _draft(self, kind: Kind, length: int) -> Draft:
        """The pack to put it in: maps have packs of their own, so that walking them reads little else."""
        of_map = kind in {Kind.PAGE, Kind.ROOT}
        draft = self._open.get(of_map)
        if draft is not None and draft.end + length > pack.TARGET:
            draft.closed = True
            self._closed.append(draft)
            draft = None
        if draft is None:
            draft = self._open[of_map] = Draft(self._keyring, length)
        return draft

    def _complete(self) -> list[Draft]:
        complete = [draft for draft in self._closed if draft.complete]
        self._closed = [draft for draft in self._closed if not draft.complete]
        return complete


def _verify(cipher: Cipher, entry: Entry, sealed: memoryview, content: bytes) -> None:
    """Decode and compare: memory or a processor that is failing is noticed before its work is all there is."""
    body = _scratch(entry.length - TAG)
    try:
        cipher.open_into(body, sealed, entry.offset, entry.kind, entry.codec, entry.id, entry.size)
        same = (inflate(body, entry.size) if entry.codec is Codec.ZSTD else body) == content
    except (InvalidTag, ValueError):
        same = False
    if not same:
        raise RepositoryError(
            "what was just compressed and encrypted does not decode to what it was made from",
            code="NF-REPO-015",
            hints=("this machine's memory or processor fails: test it (memtest86+) before it writes another backup",),
        )


def _scratch(size: int) -> bytearray:
    """A buffer of this thread, for a moment. Most chunks are of one size."""
    found: bytearray | None = getattr(_own, "scratch", None)
    if found is None or len(found) != size:
        found = _own.scratch = bytearray(size)
    return found


def _is_zero(content: bytes) -> bool:
    return (
        not any(content[:64]) and content[:PROBE] == bytes(min(PROBE, len(content))) and content == bytes(len(content))
    )
