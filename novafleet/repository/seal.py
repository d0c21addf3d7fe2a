"""Encryption and naming: what turns plain bytes into what a store sees, and back.

Every object has a random salt of its own; its AES-256-GCM key is derived from master key and salt, its nonces are the
byte offsets in it. So no nonce is ever used twice, even after a crash, and one master key serves without limit.
GCM does not commit to its key: the header holds a tag derived beside the key, which does.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from novafleet.errors import RepositoryError, Retry
from novafleet.model.secret import Secret
from novafleet.repository.compress import Codec, compress, decompress

VERSION = 1
TAG = 16
"""Bytes AES-GCM adds."""
NO_ID = bytes(32)
HEADER = struct.Struct("<6sH32s32s")
"""Magic, format version, salt, key commitment."""
ENVELOPE = struct.Struct("<BI")
"""After the header of an object sealed as a whole: codec, plain size."""
BOUND = struct.Struct("<16s32sQBB32sII")
"""What a sealed part is bound to: repository, salt, offset, kind, codec, id, plain size, size as stored (no tag)."""
MAX_PLAIN = 1 << 30


class Kind(IntEnum):
    """What sealed bytes are. The kind is part of ids and of what is authenticated: none passes for another."""

    DATA = 1
    PAGE = 2
    ROOT = 3
    BLOB = 4
    TOC = 5
    INDEX = 6
    SNAPSHOT = 7
    RECORD = 8


PACK, INDEX, SNAPSHOT = b"NFPACK", b"NFINDX", b"NFSNAP"


@dataclass(frozen=True, slots=True)
class Cipher:
    """The key of one object. Safe to use from several threads."""

    repository: bytes
    salt: bytes
    commitment: bytes
    _gcm: AESGCM

    def seal(self, body: bytes, offset: int, kind: Kind, codec: Codec, chunk: bytes, plain: int) -> bytes:
        """Ciphertext and tag of what will lie at ``offset``."""
        return self._gcm.encrypt(_nonce(offset), body, self._bound(offset, kind, codec, chunk, plain, len(body)))

    def seal_into(
        self, place: memoryview, body: bytes, offset: int, kind: Kind, codec: Codec, chunk: bytes, plain: int
    ) -> None:
        """``seal`` where it is to lie: ``place`` has room for body and tag. No other thread waits meanwhile."""
        bound = self._bound(offset, kind, codec, chunk, plain, len(body))
        self._gcm.encrypt_into(_nonce(offset), body, bound, place)

    def open_into(
        self, body: bytearray, sealed: memoryview, offset: int, kind: Kind, codec: Codec, chunk: bytes, plain: int
    ) -> None:
        """``open``, into a buffer of just the body's size."""
        bound = self._bound(offset, kind, codec, chunk, plain, len(body))
        self._gcm.decrypt_into(_nonce(offset), sealed, bound, body)

    def open(self, sealed: bytes, offset: int, kind: Kind, codec: Codec, chunk: bytes, plain: int) -> bytes:
        """The body. Raises InvalidTag when anything about it differs."""
        bound = self._bound(offset, kind, codec, chunk, plain, len(sealed) - TAG)
        return self._gcm.decrypt(_nonce(offset), sealed, bound)

    def _bound(self, offset: int, kind: Kind, codec: Codec, chunk: bytes, plain: int, stored: int) -> bytes:
        return BOUND.pack(self.repository, self.salt, offset, kind, codec, chunk, plain, max(stored, 0))


class Keyring:
    """Everything derived from the master key of one repository. Holds secrets; never shown."""

    def __init__(self, master: Secret, repository: str) -> None:
        self._master = master
        self._repository = bytes.fromhex(repository)
        self._names = {kind: self._derive(b"novafleet/1 id " + bytes([kind]), self._repository, 32) for kind in Kind}
        self.cipher = lru_cache(4096)(self._cipher)
        """The cipher of the object with this salt."""

    def __repr__(self) -> str:
        return "Keyring(…)"

    def chunk_id(self, kind: Kind, content: bytes) -> bytes:
        """Keyed BLAKE3-256: without the key nobody can tell whether some content is stored."""
        return blake3(content, key=self._names[kind]).digest()

    def _cipher(self, salt: bytes) -> Cipher:
        derived = self._derive(b"novafleet/1 object " + self._repository, salt, 64)
        return Cipher(self._repository, salt, derived[32:], AESGCM(derived[:32]))

    def _derive(self, purpose: bytes, salt: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, salt, purpose).derive(self._master.reveal())

    def begin(self, magic: bytes) -> tuple[bytes, Cipher]:
        """The header of a new object, and its cipher."""
        cipher = self._cipher(secrets.token_bytes(32))
        return HEADER.pack(magic, VERSION, cipher.salt, cipher.commitment), cipher

    def header(self, content: bytes, magic: bytes, where: str) -> Cipher:
        """The cipher of an object that begins with ``content``.

        Raises RepositoryError NF-REPO-004 for a newer version, NF-REPO-010 when it is damaged or another repository's.
        """
        if len(content) < HEADER.size:
            raise damaged(where, "it is cut short")
        found, version, salt, commitment = HEADER.unpack_from(content)
        if found != magic:
            raise damaged(where, f"it does not begin with {magic.decode()}")
        if version != VERSION:
            raise newer(where, f"version {version}")
        cipher = self.cipher(salt)
        if not hmac.compare_digest(cipher.commitment, commitment):
            raise damaged(where, "its header is damaged, or it belongs to another repository")
        return cipher

    def seal(self, magic: bytes, kind: Kind, content: bytes, name: bytes = NO_ID) -> bytes:
        """An object sealed as a whole. ``name`` (32 bytes) binds it to its key in the store."""
        header, cipher = self.begin(magic)
        body, codec = compress(content)
        start = HEADER.size + ENVELOPE.size
        return header + ENVELOPE.pack(codec, len(content)) + cipher.seal(body, start, kind, codec, name, len(content))

    def unseal(self, magic: bytes, kind: Kind, sealed: bytes, where: str, name: bytes = NO_ID) -> bytes:
        """What ``seal`` was given. Raises RepositoryError like ``header``."""
        cipher = self.header(sealed, magic, where)
        start = HEADER.size + ENVELOPE.size
        if len(sealed) < start + TAG:
            raise damaged(where, "it is cut short")
        codec, plain = ENVELOPE.unpack_from(sealed, HEADER.size)
        return unseal(cipher, sealed[start:], start, kind, codec, name, plain, where)


def unseal(
    cipher: Cipher, sealed: bytes, offset: int, kind: int, codec: int, chunk: bytes, plain: int, where: str
) -> bytes:
    """Decrypt and decompress. Raises RepositoryError NF-REPO-010."""
    try:
        body = cipher.open(sealed, offset, Kind(kind), Codec(codec), chunk, plain)
        return decompress(body, Codec(codec), plain)
    except (InvalidTag, ValueError) as exc:
        raise damaged(where, str(exc) or "its authentication tag does not fit") from exc


def damaged(where: str, cause: str) -> RepositoryError:
    """The finding about bytes that are not what was written."""
    return RepositoryError(
        "an object of the repository is damaged",
        code="NF-REPO-010",
        where=where,
        cause=cause,
        hints=("novafleet repo check URL --key-file K --read-data says which snapshots it concerns",),
    )


def newer(where: str, cause: str) -> RepositoryError:
    """The finding about a format this version does not know."""
    return RepositoryError(
        "the repository is of a format this NovaFleet does not know",
        code="NF-REPO-004",
        where=where,
        cause=cause,
        retry=Retry.AFTER_FIX,
        hints=("use the NovaFleet that wrote it, or a newer one",),
    )


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "little")
