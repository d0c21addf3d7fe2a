"""Restore from a NovaFleet backup repository without NovaFleet. This one file is all that is needed, beside

    pip install cryptography zstandard blake3

    python reader.py DIRECTORY --key-file KEY ls
    python reader.py DIRECTORY --key-file KEY restore SNAPSHOT DISK OUT     # a raw image, sparse; of a stack a tar file
    python reader.py DIRECTORY --key-file KEY files SNAPSHOT OUT            # domain.xml, NVRAM, … into a new directory

Instead of --key-file: --passphrase-file FILE, for a passphrase or the code of a recovery sheet. With --scan it does
without the index and looks into every pack. It reads only; nothing is returned that does not fit its id.
The format is described in docs/reference/repository-format.md of NovaFleet. Version 1, Apache-2.0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = 1
DATA, PAGE, ROOT, BLOB, TOC, INDEX, SNAPSHOT = range(1, 8)
RAW, ZSTD = 0, 1
TAG = 16
NO_ID = bytes(32)
SEAL = b"sealed\n"
PAGE_CELLS = 1024
HEADER = struct.Struct("<6sH32s32s")
ENVELOPE = struct.Struct("<BI")
BOUND = struct.Struct("<16s32sQBB32sII")
SEALED_ROW = struct.Struct("<BB32sI")
PLAIN_ROW = struct.Struct("<II32s")
FOOTER = struct.Struct("<II32s6sH")
INDEX_COUNTS = struct.Struct("<II")
INDEX_PACK = struct.Struct("<32s32s")
INDEX_ROW = struct.Struct("<32sIIIIBB")
SPAN = struct.Struct("<III32s")
ROOT_HEAD = struct.Struct("<QII")
BOUNDS = {"iterations": 64, "memory_kib": 1 << 20, "lanes": 64}
"""Of a slot, which nobody vouches for before it is opened."""
SNAPSHOT_ID = re.compile("[0-9a-hjkmnp-tv-z]{26}")
NAME = re.compile("[a-z0-9_][a-z0-9._-]*")

Place = tuple[bytes, bytes, int, int, int, int, int]
"""Pack name, salt, offset, length, plain size, kind, codec."""


class ReaderError(Exception):
    """What keeps us from reading, in words."""


class Repository:
    """A repository in a directory, opened with a key."""

    def __init__(self, folder: Path, master: bytes, repository: bytes) -> None:
        self.folder = folder
        self._master = master
        self._id = repository
        self._ciphers: dict[bytes, tuple[AESGCM, bytes]] = {}
        self._names = {kind: self._derive(b"novafleet/1 id " + bytes([kind]), repository, 32) for kind in range(1, 8)}
        self._places: dict[bytes, list[Place]] = {}

    def snapshots(self) -> Iterator[dict[str, Any]]:
        """Every snapshot, oldest first; damaged ones are named and left out."""
        for path in self._snapshot_paths():
            try:
                yield self.snapshot(path.name)
            except ReaderError as exc:
                sys.stderr.write(f"left out: {exc}\n")

    def snapshot(self, name: str) -> dict[str, Any]:
        """One snapshot, by id or unique beginning of one."""
        paths = [path for path in self._snapshot_paths() if path.name.startswith(name)]
        if len(paths) != 1:
            raise ReaderError(f"{len(paths)} snapshots begin with {name!r}")
        bound = paths[0].name.encode().ljust(32, b"\0")
        found: dict[str, Any] = json.loads(self._unseal(paths[0], b"NFSNAP", SNAPSHOT, bound))
        return found

    def _snapshot_paths(self) -> list[Path]:
        paths = _entries(self.folder / "snapshots")
        return [path for path in paths if SNAPSHOT_ID.fullmatch(path.name) and path.stat().st_size != len(SEAL)]

    def load_index(self) -> None:
        """Learn from the index where chunks are."""
        for path in _entries(self.folder / "index"):
            if path.stat().st_size == len(SEAL):
                continue
            content = self._unseal(path, b"NFINDX", INDEX, NO_ID)
            count, rows = INDEX_COUNTS.unpack_from(content)
            middle = INDEX_COUNTS.size + count * INDEX_PACK.size
            _check(middle + rows * INDEX_ROW.size == len(content), f"{path}: sizes do not fit")
            packs = list(INDEX_PACK.iter_unpack(content[INDEX_COUNTS.size : middle]))
            for chunk, number, offset, length, size, kind, codec in INDEX_ROW.iter_unpack(content[middle:]):
                self._places.setdefault(chunk, []).append((*packs[number], offset, length, size, kind, codec))

    def scan_packs(self) -> None:
        """Learn it from the packs themselves; damaged ones are named and left out."""
        for path in (path for folder in sorted((self.folder / "packs").glob("??")) for path in _entries(folder)):
            try:
                for chunk, place in self._pack(path):
                    self._places.setdefault(chunk, []).append(place)
            except (ReaderError, struct.error, ValueError) as exc:
                sys.stderr.write(f"left out: {path}: {exc}\n")

    def chunk(self, kind: int, chunk: bytes) -> bytes:
        """The content of a chunk, verified, from any pack that has it whole."""
        failure = "no index names it; try --scan"
        for name, salt, offset, length, size, said, codec in self._places.get(chunk, []):
            path = self.folder / "packs" / name.hex()[:2] / name.hex()
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    sealed = file.read(length)
                _check(said == kind, f"{path}: a chunk of another kind")
                content = self._open(sealed, salt, offset, kind, codec, chunk, size, str(path))
                _check(self._name(kind, content) == chunk, f"{path}: content does not fit its id")
            except (ReaderError, OSError) as exc:
                failure = str(exc)
                continue
            return content
        raise ReaderError(f"chunk {chunk.hex()}: {failure}")

    def spans(self, root: bytes) -> Iterator[tuple[int, int, bytes, int]]:
        """(offset on the disk, length, chunk id, offset in the chunk) of all that is not zero; first the disk size
        as (size, 0, b"", 0)."""
        content = self.chunk(ROOT, root)
        size, cell, count = ROOT_HEAD.unpack_from(content)
        _check(len(content) == ROOT_HEAD.size + 32 * count, "root: sizes do not fit")
        yield size, 0, b"", 0
        for number in range(count):
            page = content[ROOT_HEAD.size + 32 * number :][:32]
            if page != NO_ID:
                yield from self._page(self.chunk(PAGE, page), number * PAGE_CELLS, cell)

    @staticmethod
    def _page(page: bytes, first: int, cell: int) -> Iterator[tuple[int, int, bytes, int]]:
        counts = struct.unpack_from(f"<{PAGE_CELLS}H", page)
        at = PAGE_CELLS * 2
        _check(len(page) == at + sum(counts) * SPAN.size, "page: sizes do not fit")
        for number, spans in enumerate(counts, first):
            for _ in range(spans):
                start, length, skip, chunk = SPAN.unpack_from(page, at)
                at += SPAN.size
                yield number * cell + start, length, chunk, skip

    def _pack(self, path: Path) -> Iterator[tuple[bytes, Place]]:
        with path.open("rb") as file:
            salt = self._salt(file.read(HEADER.size), b"NFPACK", str(path))
            behind = file.seek(-FOOTER.size, os.SEEK_END)
            count, table, digest, magic, version = FOOTER.unpack(file.read())
            _check(magic == b"NFPEND" and version == VERSION, "no end of a pack")
            _check(table + (count + 1) * PLAIN_ROW.size == behind, "sizes do not fit")
            file.seek(table)
            plain = file.read(behind - table)
            _check(blake3(plain).digest() == digest, "its table is damaged")
            *rows, (offset, length, _) = PLAIN_ROW.iter_unpack(plain)
            file.seek(offset)
            size = count * SEALED_ROW.size
            toc = self._open(file.read(length), salt, offset, TOC, RAW, NO_ID, size, "table of contents")
        for (at, sealed, _), (kind, codec, chunk, plain_size) in zip(rows, SEALED_ROW.iter_unpack(toc), strict=True):
            yield chunk, (bytes.fromhex(path.name), salt, at, sealed, plain_size, kind, codec)

    def _unseal(self, path: Path, magic: bytes, kind: int, name: bytes) -> bytes:
        content = path.read_bytes()
        start = HEADER.size + ENVELOPE.size
        _check(len(content) >= start + TAG, f"{path}: cut short")
        salt = self._salt(content, magic, str(path))
        codec, size = ENVELOPE.unpack_from(content, HEADER.size)
        return self._open(content[start:], salt, start, kind, codec, name, size, str(path))

    def _salt(self, content: bytes, magic: bytes, where: str) -> bytes:
        _check(len(content) >= HEADER.size, f"{where}: cut short")
        found, version, salt, commitment = HEADER.unpack_from(content)
        _check(found == magic, f"{where}: not what its place says")
        _check(version == VERSION, f"{where}: format version {version} is newer than this reader")
        _check(self._cipher(salt)[1] == commitment, f"{where}: damaged, or of another repository")
        return bytes(salt)

    def _open(
        self, sealed: bytes, salt: bytes, offset: int, kind: int, codec: int, chunk: bytes, size: int, where: str
    ) -> bytes:
        bound = BOUND.pack(self._id, salt, offset, kind, codec, chunk, size, max(len(sealed) - TAG, 0))
        try:
            body = self._cipher(salt)[0].decrypt(offset.to_bytes(12, "little"), sealed, bound)
            content = zstandard.ZstdDecompressor().decompress(body, max_output_size=size) if codec == ZSTD else body
        except (InvalidTag, ValueError, zstandard.ZstdError) as exc:
            raise ReaderError(f"{where}: damaged at {offset}") from exc
        _check(len(content) == size, f"{where}: wrong size at {offset}")
        return content

    def _cipher(self, salt: bytes) -> tuple[AESGCM, bytes]:
        if salt not in self._ciphers:
            derived = self._derive(b"novafleet/1 object " + self._id, salt, 64)
            self._ciphers[salt] = AESGCM(derived[:32]), derived[32:]
        return self._ciphers[salt]

    def _derive(self, purpose: bytes, salt: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, salt, purpose).derive(self._master)

    def _name(self, kind: int, content: bytes) -> bytes:
        return blake3(content, key=self._names[kind]).digest()


def unlock(folder: Path, kind: str, secret: bytes) -> Repository:
    """Open with a key file's content (``file``) or a passphrase (``passphrase``)."""
    raw = (folder / "config").read_bytes()
    config = json.loads(raw)
    suite = (config["version"], config["cipher"], config["hash"], config["compression"])
    _check(suite == (VERSION, "aes-256-gcm", "blake3-256", "zstd"), f"format {suite} is not known to this reader")
    for path in _entries(folder / "keys"):
        bound = f"novafleet key slot 1\0{path.name}\0{kind}".encode()
        try:
            slot = json.loads(path.read_bytes())
            if slot["kind"] != kind:
                continue
            inner = AESGCM(_wrapping_key(slot, secret)).decrypt(bytes(12), bytes.fromhex(slot["wrapped"]), bound)
        except (InvalidTag, ValueError, KeyError, TypeError):  # another key's, or damaged: the next may fit
            continue
        if inner[32:] == blake3(raw).digest():
            return Repository(folder, inner[:32], bytes.fromhex(config["id"]))
    raise ReaderError("this key does not open the repository, or its object config is damaged")


def _wrapping_key(slot: dict[str, Any], secret: bytes) -> bytes:
    salt = bytes.fromhex(slot["salt"])
    if any(not 0 <= slot[name] <= most for name, most in BOUNDS.items()):
        raise ValueError("a slot that would take all memory or time")
    if slot["kind"] == "file":
        return HKDF(SHA256(), 32, salt, b"novafleet key file 1").derive(secret)
    return Argon2id(
        salt=salt, length=32, iterations=slot["iterations"], lanes=slot["lanes"], memory_cost=slot["memory_kib"]
    ).derive(secret)


def passphrase(text: str) -> bytes:
    """As it is hashed: the code of a recovery sheet in capitals, in groups of four."""
    bare = "".join(text.split()).replace("-", "").upper()
    if len(bare) == 40 and bare.startswith("NFRK"):
        text = "-".join(bare[at : at + 4] for at in range(0, 40, 4))
    return text.encode()


def restore(repository: Repository, snapshot: str, name: str, out: BinaryIO) -> None:
    """Write a disk as a raw image; what is zero stays a hole."""
    disks = repository.snapshot(snapshot)["disks"]
    _check(name in disks, f"the snapshot has the disks {', '.join(disks)}")
    spans = repository.spans(bytes.fromhex(disks[name]["root"]))
    size, *_ = next(spans)
    held, content = b"", b""
    for offset, length, chunk, skip in spans:
        if chunk != held:
            held, content = chunk, repository.chunk(DATA, chunk)
        _check(len(content) >= skip + length and offset + length <= size, "the map does not fit the disk")
        out.seek(offset)
        out.write(content[skip : skip + length])
    out.truncate(size)
    out.flush()
    os.fsync(out.fileno())


def save_files(repository: Repository, snapshot: str, out: Path) -> None:
    """Write the small files of a snapshot below ``out``."""
    out.mkdir(mode=0o700)
    for name, blob in repository.snapshot(snapshot)["files"].items():
        target = out / name
        _check(target.resolve().is_relative_to(out.resolve()), f"a file of the name {name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(repository.chunk(BLOB, bytes.fromhex(blob["id"])))


def _entries(folder: Path) -> list[Path]:
    """The objects in it: none before the first backup, and not what a file server or a desktop laid beside them."""
    if not folder.exists():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_file())


def _check(sound: bool, otherwise: str) -> None:
    if not sound:
        raise ReaderError(otherwise)


def _lines(repository: Repository) -> Iterator[str]:
    for snapshot in repository.snapshots():
        at = datetime.fromtimestamp(snapshot["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        disks = ", ".join(f"{name} {disk['size']}" for name, disk in sorted(snapshot["disks"].items()))
        yield f"{snapshot['id']}  {at}  {snapshot['vm']}  {snapshot['consistency']}  {disks}\n"


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file", type=Path)
    key.add_argument("--passphrase-file", type=Path)
    parser.add_argument("--scan", action="store_true", help="look into every pack instead of the index")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("ls")
    for verb, names in {"restore": ("snapshot", "disk", "out"), "files": ("snapshot", "out")}.items():
        sub = verbs.add_parser(verb)
        for name in names:
            sub.add_argument(name, type=Path if name == "out" else str)
    return parser.parse_args(argv)


def _run(given: argparse.Namespace) -> None:
    if given.key_file:
        repository = unlock(given.directory, "file", given.key_file.read_bytes())
    else:
        words = given.passphrase_file.read_text().rstrip("\r\n")
        repository = unlock(given.directory, "passphrase", passphrase(words))
    if given.verb == "ls":
        sys.stdout.writelines(_lines(repository))
        return
    repository.scan_packs() if given.scan else repository.load_index()
    if given.verb == "files":
        save_files(repository, given.snapshot, given.out)
        return
    with os.fdopen(os.open(given.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        try:
            restore(repository, given.snapshot, given.disk, out)
        except BaseException:
            given.out.unlink()  # half a disk looks like a whole one
            raise


def main(argv: list[str] | None = None) -> int:
    """0 when all went well, 1 with a message otherwise."""
    try:
        _run(_arguments(sys.argv[1:] if argv is None else argv))
    except (ReaderError, OSError, KeyError, TypeError, ValueError, struct.error) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
