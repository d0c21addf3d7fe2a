"""A minimal ISO 9660 image with Joliet names: a few small files in the root, the same bytes for the same content.

Written here because a seed must be reproducible (its digest says whether it changed) and no tool on the controller or
the host is needed. Layout: ECMA-119 (primary descriptor at sector 16) and the Joliet specification (UCS-2 level 3).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

SECTOR = 2048
_PATH_TABLES, _ROOT, _JOLIET_ROOT, _DATA = 19, 23, 24, 25
_DATE = bytes((80, 1, 1, 0, 0, 0, 0))
_NO_DATE = b"0" * 16 + b"\0"
_DIRECTORY = 2
_MOST_FILES = 24


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    sector: int
    content: bytes


def iso9660(label: str, files: Mapping[str, bytes]) -> bytes:
    """The image. ``label`` has at most 16 characters; ``files`` at most 24 plain names with their content."""
    if len(files) > _MOST_FILES:
        raise ValueError(f"{len(files)} files do not fit into one directory sector")
    placed, end = _place(files)
    sectors = [
        _descriptor(1, label, end, _PATH_TABLES, _ROOT, joliet=False),
        _descriptor(2, label, end, _PATH_TABLES + 2, _JOLIET_ROOT, joliet=True),
        b"\xffCD001\x01",
        *(_path_table(root, order) for root in (_ROOT, _JOLIET_ROOT) for order in "<>"),
        _directory(_ROOT, placed, joliet=False),
        _directory(_JOLIET_ROOT, placed, joliet=True),
        *(file.content for file in placed),
    ]
    return bytes(16 * SECTOR) + b"".join(map(_padded, sectors))


def _place(files: Mapping[str, bytes]) -> tuple[list[_File], int]:
    placed, sector = [], _DATA
    for name in sorted(files, key=str.upper):
        placed.append(_File(name, sector, files[name]))
        sector += -(-len(files[name]) // SECTOR)
    return placed, sector


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def _both(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little") + number.to_bytes(size, "big")


def _padding(size: int, *, joliet: bool) -> bytes:
    return (b"\0 " * size)[:size] if joliet else b" " * size


def _label(label: str, *, joliet: bool) -> bytes:
    encoded = label.encode("utf-16-be") if joliet else label.encode("ascii")
    return encoded + _padding(32 - len(encoded), joliet=joliet)


def _descriptor(kind: int, label: str, size: int, tables: int, root: int, *, joliet: bool) -> bytes:
    return b"".join(
        (
            bytes((kind,)) + b"CD001\x01\0",
            _padding(32, joliet=joliet),
            _label(label, joliet=joliet),
            bytes(8) + _both(size, 4),
            (b"%/E" if joliet else b"").ljust(32, b"\0"),
            _both(1, 2) + _both(1, 2) + _both(SECTOR, 2) + _both(10, 4),
            struct.pack("<II", tables, 0) + struct.pack(">II", tables + 1, 0),
            _record(b"\0", root, SECTOR, _DIRECTORY),
            _padding(4 * 128, joliet=joliet),
            _padding(37, joliet=joliet) * 3,
            _NO_DATE * 4 + b"\x01",
        )
    )


def _path_table(root: int, order: str) -> bytes:
    return struct.pack(f"{order}BBIH", 1, 0, root, 1) + b"\0\0"


def _record(identifier: bytes, sector: int, size: int, flags: int = 0) -> bytes:
    body = b"".join(
        (
            b"\0" + _both(sector, 4) + _both(size, 4) + _DATE,
            bytes((flags, 0, 0)) + _both(1, 2) + bytes((len(identifier),)) + identifier,
        )
    )
    body += bytes(-(len(body) + 1) % 2)
    return bytes((len(body) + 1,)) + body


def _directory(own: int, files: list[_File], *, joliet: bool) -> bytes:
    records = [_record(b"\0", own, SECTOR, _DIRECTORY), _record(b"\x01", own, SECTOR, _DIRECTORY)]
    for file in files:
        # Upper case with a version is what ISO 9660 asks for; Linux shows it as the plain lower-case name.
        identifier = file.name.encode("utf-16-be") if joliet else f"{file.name.upper()}.;1".encode("ascii")
        records.append(_record(identifier, file.sector, len(file.content)))
    return b"".join(records)
