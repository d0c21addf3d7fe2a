"""A disk as a model, a clock, and the ways to read a repository back."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Mapping
from pathlib import Path

from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.ports import BlockSource, ObjectStore
from novafleet.repository import KeySource, Repository, reader
from tests.fakes.memorystore import MemoryStore

CELL = 256 << 10
PAGE = CELL * 1024
BLOCK = 64 << 10
KEY = bytes(range(32))


class StillClock:
    """A second passes at every look, whoever looks; ``sleep`` never ends."""

    seconds = itertools.count(1_800_000_000)

    def now(self) -> float:
        return float(next(self.seconds))

    def monotonic(self) -> float:
        return self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Model:
    """A sparse disk: 64 KiB blocks that are not there are zero."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: dict[int, bytes] = {}

    def copy(self) -> Model:
        other = Model(self.size)
        other.blocks = dict(self.blocks)
        return other

    def write(self, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, BLOCK)
            part = data[at : at + BLOCK - start]
            block = bytearray(self.blocks.get(number, bytes(BLOCK)))
            block[start : start + len(part)] = part
            self.blocks[number] = bytes(block)
            at += len(part)

    def zero(self, offset: int, length: int) -> None:
        for number in [each for each in self.blocks if each * BLOCK < offset + length and (each + 1) * BLOCK > offset]:
            start, end = max(offset, number * BLOCK), min(offset + length, (number + 1) * BLOCK)
            self.write(start, bytes(end - start))

    def resize(self, size: int) -> None:
        if size < self.size:
            self.zero(size, self.size - size)
            self.blocks = {number: block for number, block in self.blocks.items() if number * BLOCK < size}
        self.size = size

    def content(self) -> dict[int, bytes]:
        """Blocks that are not zero; the last one may be short."""
        clipped = {number: block[: self.size - number * BLOCK] for number, block in self.blocks.items()}
        return {number: block for number, block in clipped.items() if any(block)}


async def read_back(source: BlockSource) -> dict[int, bytes]:
    """``Model.content`` of a source: extents without gaps, data where they say so."""
    found: dict[int, bytes] = {}
    at = 0
    for extent in await source.extents(0, source.size):
        assert extent.offset == at
        at = extent.end
        if not extent.zero:
            first, last = extent.offset // BLOCK, (extent.end - 1) // BLOCK
            for number in range(first, last + 1):
                found[number] = await source.read(number * BLOCK, min(BLOCK, source.size - number * BLOCK))
    assert at == source.size
    return {number: block for number, block in found.items() if any(block)}


def lay_out(objects: Mapping[str, bytes], folder: Path) -> Path:
    """The objects as files, as a DirectoryStore has them."""
    for key, content in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


class SparseFile(io.RawIOBase):
    """What the standalone reader writes to."""

    def __init__(self) -> None:
        self.model = Model(0)
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset
        return offset

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.model.size = max(self.model.size, self._at + len(data))
        self.model.write(self._at, data)
        self._at += len(data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        assert size is not None
        self.model.resize(size)
        return size

    def fileno(self) -> int:
        return 2


def standalone(folder: Path, snapshot: str, disk: str, *, scan: bool = False) -> Model:
    """A disk as reader.py restores it."""
    repository = reader.unlock(folder, "file", KEY)
    repository.scan_packs() if scan else repository.load_index()
    out = SparseFile()
    reader.restore(repository, snapshot, disk, out)  # type: ignore[arg-type]
    return out.model


def key_file(folder: Path) -> KeySource:
    """A key source, always the same."""
    path = folder / "key"
    path.write_bytes(KEY)
    return KeySource(file=path)


async def fresh(folder: Path, store: ObjectStore | None = None) -> Repository:
    """An empty repository with the smallest cells."""
    return await Repository.create(store or MemoryStore(), key_file(folder), at=1.0, cell=CELL)


def snapshot_of(root: str, size: int, *, parent: str = "", at: float = 1_800_000_000.0) -> Snapshot:
    """A snapshot with one disk, vda."""
    disk = DiskCopy("vda", "vda", size, root)
    return Snapshot("", "vm", "vm", "uuid", "host", at, Consistency.CRASH, {"vda": disk}, parent=parent)
