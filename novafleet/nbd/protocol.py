"""NBD messages as bytes, pure; names are those of the specification (NetworkBlockDevice/nbd, ``doc/proto.md``)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF

MAX_PAYLOAD = 32 * 1024 * 1024
"""Bytes one READ or WRITE may carry: what every server takes (proto.md, "Block size constraints")."""
MAX_OPTION = 64 * 1024
"""Bytes of one option or its reply that are looked at; the strings in it have at most 4096."""
MAX_ERROR = 64 * 1024
MAX_DESCRIPTORS = 1024 * 1024
"""Extents in one BLOCK_STATUS reply; QEMU sends at most 131072."""

ALLOCATION = "base:allocation"
DIRTY_BITMAP = "qemu:dirty-bitmap:"


class Handshake(IntFlag):
    """Flags both sides begin with."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    """NBD_OPT_*."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class Rep(IntEnum):
    """NBD_REP_*: kinds of replies to an option; from ``ERROR`` on they refuse it."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERROR = 1 << 31
    ERR_UNSUP = (1 << 31) + 1
    ERR_POLICY = (1 << 31) + 2
    ERR_INVALID = (1 << 31) + 3
    ERR_UNKNOWN = (1 << 31) + 6
    ERR_TOO_BIG = (1 << 31) + 9


class Info(IntEnum):
    """NBD_INFO_*."""

    EXPORT = 0
    NAME = 1
    BLOCK_SIZE = 3


class Flag(IntFlag):
    """NBD_FLAG_*: what an export can do."""

    HAS_FLAGS = 1
    READ_ONLY = 2
    SEND_FLUSH = 4
    SEND_WRITE_ZEROES = 64
    CAN_MULTI_CONN = 256


class Cmd(IntEnum):
    """NBD_CMD_*."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class CmdFlag(IntFlag):
    """NBD_CMD_FLAG_* that matter here."""

    REQ_ONE = 8


class Chunk(IntEnum):
    """NBD_REPLY_TYPE_*: kinds of structured reply chunks; from ``ERROR_BIT`` on they tell of an error."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    ERROR_BIT = 1 << 15
    ERROR = (1 << 15) + 1
    ERROR_OFFSET = (1 << 15) + 2


CHUNK_DONE = 1
STATE_HOLE = 1
STATE_ZERO = 2
STATE_DIRTY = 1


class Errno(IntEnum):
    """Errors a server may answer with: Linux numbers, on every system."""

    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108

    @classmethod
    def name_of(cls, number: int) -> str:
        """``EIO``, or ``error 17`` for one the specification does not know."""
        return next((known.name for known in cls if known == number), f"error {number}")


GREETING = struct.Struct(">QQH")
CLIENT_FLAGS = struct.Struct(">I")
OPTION = struct.Struct(">QII")
OPTION_REPLY = struct.Struct(">QIII")
REQUEST = struct.Struct(">IHHQQI")
SIMPLE_REPLY = struct.Struct(">IIQ")
CHUNK = struct.Struct(">IHHQI")
CHUNK_REST = struct.Struct(">HHQI")
SIMPLE_REST = struct.Struct(">IQ")
EXPORT_INFO = struct.Struct(">HQH")
BLOCK_SIZES = struct.Struct(">HIII")
EXPORT_REPLY = struct.Struct(">QH")
OFFSET = struct.Struct(">Q")
HOLE = struct.Struct(">QI")
ERROR = struct.Struct(">IH")
U16 = struct.Struct(">H")
U32 = struct.Struct(">I")
DESCRIPTOR = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Request:
    """One command of the transmission phase, without its payload."""

    command: int
    cookie: int
    offset: int = 0
    length: int = 0
    flags: int = 0

    def encode(self) -> bytes:
        """Its 28 bytes."""
        return REQUEST.pack(REQUEST_MAGIC, self.flags, self.command, self.cookie, self.offset, self.length)

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """From its 28 bytes. Raises ValueError for another magic."""
        magic, flags, command, cookie, offset, length = REQUEST.unpack(data)
        if magic != REQUEST_MAGIC:
            raise ValueError(f"a request begins with {magic:#x}")
        return cls(command, cookie, offset, length, flags)


@dataclass(frozen=True, slots=True)
class Run:
    """What one metadata context says of the next ``length`` bytes."""

    length: int
    state: int


def option(kind: Option, data: bytes = b"") -> bytes:
    """An option as the client sends it."""
    return OPTION.pack(IHAVEOPT, kind, len(data)) + data


def option_reply(kind: int, reply: Rep, data: bytes = b"") -> bytes:
    """One reply to an option."""
    return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, kind, reply, len(data)) + data


def chunk(kind: Chunk, cookie: int, data: bytes = b"", *, done: bool = True) -> bytes:
    """One chunk of a structured reply."""
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, CHUNK_DONE if done else 0, kind, cookie, len(data)) + data


def simple_reply(cookie: int, error: int = 0, data: bytes = b"") -> bytes:
    """A reply to a client that did not ask for structured ones."""
    return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, cookie) + data


def text(value: str) -> bytes:
    """A string with its length before it."""
    data = value.encode()
    return U32.pack(len(data)) + data


def meta_query(export: str, queries: Sequence[str]) -> bytes:
    """The data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    return text(export) + U32.pack(len(queries)) + b"".join(text(query) for query in queries)


def parse_meta_query(data: bytes) -> tuple[str, list[str]]:
    """Export and queries. Raises ValueError for data of another shape."""
    export, at = _text(data, 0)
    (count,), at = _unpack(U32, data, at)
    queries = []
    for _ in range(count):
        query, at = _text(data, at)
        queries.append(query)
    return export, queries


def go(export: str, infos: Sequence[Info] = ()) -> bytes:
    """The data of INFO and GO."""
    return text(export) + U16.pack(len(infos)) + b"".join(U16.pack(info) for info in infos)


def parse_go(data: bytes) -> tuple[str, list[int]]:
    """Export and the infos asked for. Raises ValueError for data of another shape."""
    export, at = _text(data, 0)
    (count,), at = _unpack(U16, data, at)
    infos = []
    for _ in range(count):
        (info,), at = _unpack(U16, data, at)
        infos.append(info)
    return export, infos


def runs(data: bytes) -> Iterator[Run]:
    """The descriptors of a BLOCK_STATUS chunk, behind its context id. Raises ValueError for another shape."""
    if not data or len(data) % DESCRIPTOR.size:
        raise ValueError(f"a block status of {len(data)} bytes")
    for length, state in DESCRIPTOR.iter_unpack(data):
        if not length:
            raise ValueError("an extent without length")
        yield Run(length, state)


def error_text(data: bytes) -> tuple[int, str]:
    """Number and words of an error chunk. Raises ValueError for another shape."""
    (number, length), at = _unpack(ERROR, data, 0)
    return number, data[at : at + length].decode("utf-8", "replace")


def error_data(number: int, words: str) -> bytes:
    """The data of an error chunk."""
    said = words.encode()[:4096]
    return ERROR.pack(number, len(said)) + said


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,), at = _unpack(U32, data, at)
    if at + length > len(data):
        raise ValueError("a string reaches beyond its message")
    return data[at : at + length].decode(), at + length


def _unpack(shape: struct.Struct, data: bytes, at: int) -> tuple[tuple[int, ...], int]:
    if at + shape.size > len(data):
        raise ValueError(f"a message ends after {len(data)} bytes")
    return shape.unpack_from(data, at), at + shape.size
