"""A VM with its snapshots in one file (docs/reference/snapshot-archive.md): a plain tar of small texts and of images,
each image a sparse tar of its own compressed with zstd, and at the end the SHA-256 of every member.

What a file says is believed only as far as its digests go: it may come from anywhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from novafleet.errors import SnapshotError

SUMS = "SHA256SUMS"
PIECE = 1 << 20
BLOCK = 512
LEVEL = 3
MOST_MEMBERS = 10_000
MOST_TEXT = 64 << 20
"""Bytes a member that is read at once may have."""
_SUM = re.compile(r"([0-9a-f]{64})  ([!-~]+)")


class Writer:
    """Writes members one after the other; the header of one is put before it when its size is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sums: list[str] = []
        self._name = ""
        self._start = 0
        self._digest = hashlib.sha256()
        self._packer: Compressor | None = None

    def put(self, name: str, content: bytes) -> None:
        """A member that is there already."""
        self._begin(name)
        self._take(content)
        self.end()

    def begin(self, name: str) -> None:
        """A member that is compressed as it comes."""
        self._begin(name)
        self._packer = cast(
            "Compressor", zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, threads=-1).compressobj()
        )

    def write(self, data: bytes) -> None:
        """More of the member begun."""
        assert self._packer is not None
        self._take(self._packer.compress(data))

    def end(self) -> None:
        """It is complete."""
        if self._packer is not None:
            self._take(self._packer.flush())
            self._packer = None
        ended = self._file.tell()
        size = ended - self._start - BLOCK
        self._file.write(bytes(-size % BLOCK))
        after = self._file.tell()
        self._file.seek(self._start)
        header = tarfile.TarInfo(self._name)
        header.size, header.mode = size, 0o600
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))
        self._file.seek(after)
        self._sums.append(f"{self._digest.hexdigest()}  {self._name}\n")

    def finish(self) -> int:
        """The digests and the end of the archive; its bytes."""
        self.put(SUMS, "".join(self._sums).encode())
        self._file.write(bytes(2 * BLOCK))
        return self._file.tell()

    def _begin(self, name: str) -> None:
        self._name, self._start, self._digest = name, self._file.tell(), hashlib.sha256()
        self._file.write(bytes(BLOCK))

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class Compressor(Protocol):
    """zstandard's."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready of it."""

    def flush(self) -> bytes:
        """The rest."""


@contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole and durable, readable by its owner alone; a part file that a killed
    export left is begun again. Raises SnapshotError NF-SNAP-011."""
    part = path.with_name(f".{path.name}.nf-part")
    try:
        if path.exists():
            raise FileExistsError(path)
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                os.fchmod(file.fileno(), 0o600)
                file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as exc:
        raise _unwritable(path, exc) from exc


def refuse_existing(path: Path) -> None:
    """Raise SnapshotError NF-SNAP-011 for a file that is there."""
    if path.exists():
        raise _unwritable(path, FileExistsError())


def _unwritable(path: Path, exc: OSError) -> SnapshotError:
    """NF-SNAP-011 for what the system says."""
    if isinstance(exc, FileExistsError):
        cause, hint = "it is there already", f"another name, or first: rm {path}"
    elif isinstance(exc, BlockingIOError):
        cause, hint = "another export writes it", "wait for its end, or choose another name"
    else:
        cause, hint = exc.strerror or str(exc), f"df -h {path.parent}"
    return SnapshotError(
        "the archive cannot be written", code="NF-SNAP-011", where=str(path), cause=cause, hints=(hint,)
    )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Reader:
    """Reads members by name. Everything it raises is SnapshotError NF-SNAP-010."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._path = file, path
        self._members = self._index()
        self._sums: dict[str, str] = {}
        self._sums = self._digests()

    def _index(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                for member in archive:
                    if not member.isreg() or member.name in found or len(found) >= MOST_MEMBERS:
                        raise self.bad(f"member {member.name!r}")
                    found[member.name] = (member.offset_data, member.size)
        except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, MemoryError, RecursionError) as exc:
            raise self.bad(str(exc) or type(exc).__name__) from exc
        if SUMS not in found:
            raise self.bad(f"{SUMS} is missing: it was cut off, or is no archive of a VM")
        return found

    def _digests(self) -> dict[str, str]:
        lines = self._content(SUMS).decode("ascii", "replace").splitlines()
        matches = [_SUM.fullmatch(line) for line in lines]
        found = {match[2]: match[1] for match in matches if match is not None}
        if len(found) != len(lines) or found.keys() != self._members.keys() - {SUMS}:
            raise self.bad(f"{SUMS} names other members than there are")
        return found

    @property
    def names(self) -> frozenset[str]:
        """Of its members."""
        return frozenset(self._members)

    def read(self, name: str) -> bytes:
        """A small member, its digest checked."""
        content = self._content(name)
        self._check(name, hashlib.sha256(content).hexdigest())
        return content

    def _content(self, name: str) -> bytes:
        if name not in self._members:
            raise self.bad(f"member {name!r} is missing")
        offset, size = self._members[name]
        if size > MOST_TEXT:
            raise self.bad(f"member {name!r} has {size} bytes")
        self._file.seek(offset)
        content = self._file.read(size)
        if len(content) != size:
            raise self.bad("it was cut off")
        return content

    def unpacked(self, name: str) -> Iterator[bytes]:
        """A compressed member as it was before, in pieces; the digest is checked after the last."""
        if name not in self._members:
            raise self.bad(f"member {name!r} is missing")
        source = _Section(self._file, *self._members[name])
        try:
            with zstandard.ZstdDecompressor().stream_reader(cast("BinaryIO", source), closefd=False) as unpacker:
                while piece := unpacker.read(PIECE):
                    yield piece
        except (zstandard.ZstdError, OSError) as exc:
            raise self.bad(f"{name}: {exc}") from exc
        while source.read(PIECE):
            pass
        self._check(name, source.digest.hexdigest())

    def _check(self, name: str, digest: str) -> None:
        if self._sums[name] != digest:
            raise self.bad(
                f"{name} is not what was written: SHA-256 {digest[:16]}… instead of {self._sums[name][:16]}…"
            )

    def bad(self, cause: str) -> SnapshotError:
        """It cannot be used, because of this."""
        hints = (f"tar -tf {self._path}   # what is in it", "copy it again from where it came, or export again")
        return SnapshotError(
            "the archive cannot be used", code="NF-SNAP-010", where=self._path, cause=cause, hints=hints
        )


class _Section:
    """A part of a file as a file, with the digest of what was read of it."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._at, self._left = file, offset, size
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(self._left if count < 0 else min(count, self._left))
        self._at, self._left = self._at + len(data), self._left - len(data)
        self.digest.update(data)
        return data
