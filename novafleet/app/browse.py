"""``backup browse|get``: files out of a snapshot, read from the repository; nothing is restored or mounted."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.repository import open_repository
from novafleet.app.restorepoint import choose, disk_of
from novafleet.errors import ConfigError, FileSystemError
from novafleet.filesystem.ext import Entry, ExtFileSystem
from novafleet.filesystem.partition import Partition, partitions
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.repository import KeySource, Repository

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Place:
    """``disk`` empty: every disk is looked through; ``partition`` -1: every one; ``until`` as for restores."""

    repository: str
    key: KeySource
    snapshot: str
    disk: str = ""
    partition: int = -1
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A partition of a disk in a snapshot. ``kind``: ext4 (2 and 3 too) can be read."""

    disk: str
    partition: int
    offset: int
    size: int
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A file in a directory. ``mtime``: seconds since the epoch, by the guest's clock."""

    name: str
    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was copied out."""

    snapshot: str
    disk: str
    partition: int
    path: str
    to: str
    size: int


async def parts(place: Place) -> tuple[str, tuple[Part, ...]]:
    """The snapshot's id, and the partitions of its disks."""
    async with open_repository(place.repository, place.key) as repository:
        snapshot = await choose(repository, place.snapshot, place.until)
        found = [
            Part(copy.name, part.number, part.offset, part.length, part.kind, part.name)
            for copy in _disks(snapshot, place)
            for part in await partitions(await repository.disk(copy))
        ]
        return snapshot.id, tuple(found)


async def listing(place: Place, path: str) -> tuple[Listed, ...]:
    """What is in a directory (or the one file), by name. Raises FileSystemError NF-FS-001, -002, -003."""
    async with open_repository(place.repository, place.key) as repository:
        snapshot = await choose(repository, place.snapshot, place.until)
        system, entry, _, _ = await _find(repository, snapshot, place, path)
        if entry.inode.kind != "directory":
            return (_listed(entry),)
        return tuple(sorted([_listed(each) async for each in system.entries(entry)], key=lambda each: each.name))


async def fetch(place: Place, path: str, to: Path, tell: Tell, *, force: bool = False) -> Fetched:
    """Copy one file out: whole, sparse where it was, 0600, or not at all.

    Raises ConfigError NF-BAK-030 when ``to`` is there (without ``force``), NF-BAK-040 for what is no file.
    """
    target = _target(path, to, force=force)
    async with open_repository(place.repository, place.key) as repository:
        snapshot = await choose(repository, place.snapshot, place.until)
        system, entry, copy, part = await _find(repository, snapshot, place, path)
        if entry.inode.kind != "file":
            raise ConfigError(f"{path} is a {entry.inode.kind}; single files are fetched", code="NF-BAK-040")
        await _copy(system, entry, target, tell)
        return Fetched(snapshot.id, copy.name, part.number, path, str(target), entry.inode.size)


def _target(path: str, to: Path, *, force: bool) -> Path:
    target = to / path.rstrip("/").rpartition("/")[2] if to.is_dir() else to
    if target.exists() and not force:
        hints = ("--force replaces it",)
        raise ConfigError("there is a file already", code="NF-BAK-030", where=str(target), hints=hints)
    return target


async def _copy(system: ExtFileSystem, entry: Entry, target: Path, tell: Tell) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        async for offset, data in system.content(entry):
            await asyncio.to_thread(os.pwrite, descriptor, data, offset)
            tell(entry.name, offset + len(data), entry.inode.size)
        os.ftruncate(descriptor, entry.inode.size)
        await asyncio.to_thread(os.fsync, descriptor)
        temporary.replace(target)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def _disks(snapshot: Snapshot, place: Place) -> tuple[DiskCopy, ...]:
    return (disk_of(snapshot, place.disk),) if place.disk else tuple(snapshot.disks.values())


async def _find(
    repository: Repository, snapshot: Snapshot, place: Place, path: str
) -> tuple[ExtFileSystem, Entry, DiskCopy, Partition]:
    """The file, on the first partition that has it."""
    failure: FileSystemError | None = None
    for copy in _disks(snapshot, place):
        disk = await repository.disk(copy)
        for part in await partitions(disk):
            if place.partition not in (-1, part.number):
                continue
            try:
                system = await ExtFileSystem.open(disk, part, f"{copy.name}, partition {part.number}")
                return system, await system.entry(path), copy, part
            except FileSystemError as error:  # the next one may have it; what is damaged or near is told first
                failure = failure if failure and failure.code > error.code else error
    raise failure or FileSystemError(f"there is no partition {place.partition}", where=snapshot.id)


def _listed(entry: Entry) -> Listed:
    inode = entry.inode
    name, link = (
        text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in (entry.name, entry.link)
    )
    return Listed(name, inode.kind, inode.size, inode.mode, inode.uid, inode.gid, inode.mtime, link)
