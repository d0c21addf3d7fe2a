"""Pool files with sizes, digests and, for qcow2, virtual size and backing file read from the header.

Header layout: QEMU's docs/interop/qcow2.txt (big-endian; magic ``QFI\\xfb``, backing offset at 8, its length at 16,
virtual size at 24).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct

HEAD = 1024
_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQ")
_FILE = re.compile(r"(\d{1,18}) (\d{1,18}) (-?\d{1,18}) (.+)", re.ASCII)


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{files: {path: {size, allocated, mtime, format, virtual_size, backing}}, digests: {path: sha256}}``."""
    files: dict[str, dict[str, object]] = {}
    digests: dict[str, str] = {}
    for frame in text.split(f"{mark} dir ")[1:]:
        directory, _, body = frame.partition("\n")
        _directory(directory.rstrip("/"), body, files, digests)
    return {"files": files, "digests": digests}


def _directory(directory: str, body: str, files: dict[str, dict[str, object]], digests: dict[str, str]) -> None:
    headed: list[str] = []
    for line in body.split("\n"):  # names may hold what Unicode calls an end of line
        kind, _, rest = line.partition(" ")
        if kind == "f" and (found := _FILE.fullmatch(rest)):
            size, blocks, mtime, name = found.groups()
            files[_path(directory, name)] = {"size": int(size), "allocated": int(blocks) * 512, "mtime": float(mtime)}
        elif kind == "d":
            digest, _, name = rest.partition(" ")
            digests[_path(directory, name)] = digest
        elif kind == "h":
            headed.append(_path(directory, rest))
        elif kind == "b":
            _headers(rest, headed, files)


def _path(directory: str, name: str) -> str:
    return f"{directory}/{name.removeprefix('./')}"


def _headers(encoded: str, paths: list[str], files: dict[str, dict[str, object]]) -> None:
    """The heads lie one after the other. When a file came, went or grew meanwhile nobody can tell them apart: then
    none is believed."""
    try:
        data = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return
    sizes = [int(str(files[path]["size"])) if path in files else 0 for path in paths]
    if len(data) != sum(min(HEAD, size) for size in sizes):
        return
    offset = 0
    for path, size in zip(paths, sizes, strict=True):
        if size:
            files[path].update(_image(data[offset : offset + HEAD][:size], size))
        offset += min(HEAD, size)


def _image(head: bytes, size: int) -> dict[str, object]:
    if not head.startswith(_MAGIC) or len(head) < _HEADER.size:
        return {"format": "raw", "virtual_size": size, "backing": ""}
    _, _, backing_offset, backing_length, _, virtual_size = _HEADER.unpack_from(head)
    backing = head[backing_offset : backing_offset + backing_length] if backing_offset else b""
    return {"format": "qcow2", "virtual_size": virtual_size, "backing": backing.decode("utf-8", "replace")}
