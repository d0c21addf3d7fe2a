"""``backup ls|show|diff|verify``: what a repository holds of VMs. No host is asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from novafleet.app.repository import open_repository
from novafleet.errors import ConfigError, ExitCode, NovaFleetError, RepositoryError
from novafleet.model.backup import Blob, DiskCopy, Snapshot
from novafleet.nbd.ahead import read_many
from novafleet.ports import BlockSource
from novafleet.repository import KeySource, Repository
from novafleet.repository.chunkmap import PAGE_CELLS, ZERO, Cell
from novafleet.repository.records import Proof, proofs

WINDOW = 1 << 30
NOTHING = bytes(1 << 20)
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DiskDifference:
    """A disk of two snapshots: bytes that may differ; ``only`` names the one snapshot that has it."""

    name: str
    size_before: int
    size: int
    changed: int
    only: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two snapshots compared, the older first as asked for."""

    before: str
    after: str
    disks: tuple[DiskDifference, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """One disk or file of a snapshot, read whole: ``sha256`` of its content as a raw image has it, or the error."""

    name: str
    size: int
    sha256: str = ""
    error: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """A snapshot read from the repository."""

    snapshot: str
    parts: tuple[Verified, ...]

    @property
    def exit_code(self) -> ExitCode:
        """1 when anything cannot be read back."""
        return ExitCode.FAILED if any(part.error for part in self.parts) else ExitCode.OK


@dataclass(frozen=True, slots=True)
class Stored:
    """Snapshots, oldest first, and a finding about each that cannot be read, whosever it is."""

    snapshots: tuple[Snapshot, ...]
    damage: tuple[RepositoryError, ...] = ()


async def ls(url: str, key: KeySource, patterns: Sequence[str] = ()) -> Stored:
    """The snapshots of the VMs meant; of all without a pattern."""
    async with open_repository(url, key) as repository:
        found, damage = await repository.readable()
        return Stored(tuple(each for each in found if matches(each, patterns)), damage)


def matches(snapshot: Snapshot, patterns: Sequence[str]) -> bool:
    """A pattern is a VM's or domain's name or glob, ``HOST/DOMAIN`` or ``ENV/NAME``."""
    names = [
        snapshot.vm,
        snapshot.domain,
        f"{snapshot.host}/{snapshot.domain}",
        f"{snapshot.environment}/{snapshot.vm}",
    ]
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


async def show(url: str, key: KeySource, name: str) -> tuple[Snapshot, tuple[Proof, ...]]:
    """A snapshot, by its id or the beginning of it, and what was tried with it. Raises RepositoryError NF-REPO-008."""
    async with open_repository(url, key) as repository:
        snapshot = await repository.snapshot(name)
        return snapshot, await proofs(repository, snapshot.id)


async def diff(url: str, key: KeySource, before: str, after: str) -> Difference:
    """What differs, told from the maps: no content is read."""
    async with open_repository(url, key) as repository:
        first, second = await repository.snapshot(before), await repository.snapshot(after)
        if first.uuid != second.uuid:
            what = f"{first.id} is of {first.vm}, {second.id} of {second.vm}: only snapshots of one VM are compared"
            raise ConfigError(what, code="NF-BAK-018", hints=("novafleet backup ls VM   # its snapshots",))
        names = sorted({*first.disks, *second.disks})
        disks = [await _difference(repository, name, first, second) for name in names]
        return Difference(first.id, second.id, tuple(disks))


async def _difference(repository: Repository, name: str, first: Snapshot, second: Snapshot) -> DiskDifference:
    before, after = first.disks.get(name), second.disks.get(name)
    if before is None or after is None:
        only = second if before is None else first
        size = only.disks[name].size
        return DiskDifference(name, 0 if before is None else size, 0 if after is None else size, size, only.id)
    return DiskDifference(name, before.size, after.size, await _changed(repository, before, after))


async def _changed(repository: Repository, before: DiskCopy, after: DiskCopy) -> int:
    if before.root == after.root:
        return 0
    first, second = await repository.root(before), await repository.root(after)
    return sum(
        [
            await _changed_page(repository, first.page(number), second.page(number))
            for number in range(-(-max(first.size, second.size) // second.span))
            if first.page(number) != second.page(number)
        ]
    )


async def _changed_page(repository: Repository, before: bytes, after: bytes) -> int:
    first = await repository.page(before) if before != ZERO else None
    second = await repository.page(after) if after != ZERO else None
    return sum(
        differing(first.cell(number) if first else (), second.cell(number) if second else ())
        for number in range(PAGE_CELLS)
    )


def differing(before: Cell, after: Cell) -> int:
    """Bytes of a cell that come from another place of another chunk, or are zero in one of both only."""
    edges = sorted({edge for span in (*before, *after) for edge in (span.start, span.end)})
    return sum(end - start for start, end in pairwise(edges) if _source(before, start) != _source(after, start))


def _source(cell: Cell, at: int) -> tuple[bytes, int] | None:
    span = next((each for each in cell if each.start <= at < each.end), None)
    return None if span is None else (span.chunk.id, span.skip + at - span.start)


async def verify(url: str, key: KeySource, name: str, tell: Tell) -> Verification:
    """Read every byte of a snapshot back; each chunk is checked against its id."""
    async with open_repository(url, key) as repository:
        snapshot = await repository.snapshot(name)
        parts = [await _verified_disk(repository, each, tell) for each in snapshot.disks.values()]
        parts += [await _verified_file(repository, file, blob) for file, blob in snapshot.files.items()]
        return Verification(snapshot.id, tuple(parts))


async def _verified_disk(repository: Repository, copy: DiskCopy, tell: Tell) -> Verified:
    try:
        source = await repository.disk(copy)
        digest = await _digest(source, lambda done: tell(copy.name, done, copy.size))
    except NovaFleetError as error:
        return Verified(copy.name, copy.size, error=error.finding())
    return Verified(copy.name, copy.size, digest)


async def _digest(source: BlockSource, tell: Callable[[int], None]) -> str:
    """SHA-256 of a disk. Zeroes are not read, but they count."""
    digest = hashlib.sha256()
    for start in range(0, source.size, WINDOW):
        extents = await source.extents(start, min(WINDOW, source.size - start))
        at = start
        async with aclosing(read_many(source, [each for each in extents if not each.zero])) as pieces:
            async for offset, content in pieces:
                _zeroes(digest, offset - at)
                await asyncio.to_thread(digest.update, content)
                at = offset + len(content)
                tell(at)
        _zeroes(digest, min(start + WINDOW, source.size) - at)
    return digest.hexdigest()


def _zeroes(digest: Any, count: int) -> None:
    for _ in range(count // len(NOTHING)):
        digest.update(NOTHING)
    digest.update(NOTHING[: count % len(NOTHING)])


async def _verified_file(repository: Repository, name: str, blob: Blob) -> Verified:
    try:
        content = await repository.blob(blob)
    except NovaFleetError as error:
        return Verified(name, blob.size, error=error.finding())
    return Verified(name, len(content), hashlib.sha256(content).hexdigest())
