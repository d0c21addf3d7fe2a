"""What the first KiB of a disk image says it is. Pure; the bytes come from strangers.

``qemu-img info`` is not asked: on a hostile image it opens the files the image names (CVE-2024-4467).
Layouts: QEMU's docs/interop/qcow2.rst (big-endian; version at 4, backing file at 8, incompatible features at 72).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEAD = 1024
_QCOW2 = struct.Struct(">4sIQIIQ")
_FEATURES = struct.Struct(">Q")
_EXTERNAL_DATA = 1 << 2
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"QED\x00", "qed"),
    (0, b"LUKS\xba\xbe", "luks"),
    (257, b"ustar", "tar"),
)
COMPRESSED = {"gzip": "gunzip", "xz": "unxz", "zstd": "unzstd", "bzip2": "bunzip2", "zip": "unzip", "tar": "tar -xf"}


@dataclass(frozen=True, slots=True)
class Header:
    """``format`` is qcow2, raw, or the name of something NovaFleet cannot boot from. ``virtual_size`` in bytes (0:
    the file's own size). ``refers`` names what other file the image would make QEMU open, if any."""

    format: str
    virtual_size: int = 0
    refers: str = ""


def read(head: bytes) -> Header:
    """The header in the first bytes of a file; what has no known beginning is a raw image."""
    if head.startswith(b"QFI\xfb"):
        return _qcow(head)
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return Header(name)
    if head[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return Header("a web page")
    return Header("raw")


def _qcow(head: bytes) -> Header:
    if len(head) < _QCOW2.size:
        return Header("a truncated qcow2")
    _, version, backing, length, _, size = _QCOW2.unpack_from(head)
    if version < 2:
        return Header("qcow (version 1)")
    if backing:
        name = head[backing : backing + length].decode("utf-8", "replace") or "?"
        return Header("qcow2", size, f"backing file {name!r}")
    if version >= 3 and len(head) >= 80 and _FEATURES.unpack_from(head, 72)[0] & _EXTERNAL_DATA:
        return Header("qcow2", size, "an external data file")
    return Header("qcow2", size)
