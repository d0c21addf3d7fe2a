"""Objects as files of a POSIX-like file system: a directory here, or an export reached through libnfs.

An object appears under its name whole or not at all: it is written to ``.tmp/`` and made durable there, then renamed
(``put``) or linked (``create``, which the server decides) into place, and the directory that names it is synced.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from novafleet.errors import MissingObjectError, NovaFleetError, Retry, SpaceError, StoreError, UnreadableError
from novafleet.model.backup import StoredObject
from novafleet.objectstore.keys import checked, checked_prefix, is_key

P = ParamSpec("P")
T = TypeVar("T")

TEMPORARY = ".tmp"
STALE_AFTER = 3600.0
"""Seconds since the last write, by the store's clock, after which a temporary file has no living writer."""
THREADS = 8
REOPENS = 5
"""How often an operation begins anew when the file went or was replaced under it (ESTALE, only seen on NFS)."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""link(2) on FAT, exFAT, some FUSE and CIFS mounts."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a directory says about a name in it; ``links`` is how many names the file has."""

    name: str
    folder: bool
    size: int
    modified: float
    links: int = 1


class FileSystem(Protocol):
    """Blocking calls on paths relative to a root; they fail as those of ``os`` do, with OSError and its errno."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """A new file (0600) with this content, durable. EEXIST when there is one."""

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        """The content from ``offset``, at most ``length`` bytes of it."""

    def stat(self, path: str) -> FileEntry:
        """Facts about one path."""

    def scan(self, path: str) -> Sequence[FileEntry]:
        """What a directory holds."""

    def make_folder(self, path: str) -> None:
        """A new directory (0700), durable; the root (``""``) with all that leads to it."""

    def rename(self, path: str, target: str) -> None:
        """Replace what is there."""

    def link(self, path: str, target: str) -> None:
        """A second name. EEXIST when it is taken."""

    def unlink(self, path: str) -> None:
        """Remove a name."""

    def sync(self, path: str) -> None:
        """Make the names in a directory durable."""

    def close(self) -> None:
        """Let go of what the calls held."""


class FileStore:
    """An ObjectStore whose objects are files; ``url`` is what errors name."""

    def __init__(self, url: str, files: FileSystem, *, threads: int = THREADS) -> None:
        self.url = url
        self.exclusive = True
        self._files = files
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="objectstore")
        self._folders: set[str] = set()
        self._swept = False

    async def put(self, key: str, data: bytes | memoryview) -> None:
        """Write to a temporary file, rename it over the key. Raises SpaceError, StoreError."""
        await self._written(self._put, checked(key), data)

    async def create(self, key: str, data: bytes) -> bool:
        """Write to a temporary file, link it to the key: the file system lets one of several do so.

        Where there are no links the key itself is opened with O_EXCL: as exclusive, but a reader may see a part of it,
        and a writer that is killed leaves that part behind.
        """
        return await self._written(self._create, checked(key), data)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object, or what there is of the range. Raises MissingObjectError, StoreError."""
        return await self._call(self._read, checked(key), offset, length)

    async def stat(self, key: str) -> StoredObject:
        """Size and date of the file. Raises MissingObjectError, StoreError."""
        found = await self._call(self._stat, checked(key))
        return StoredObject(key, found.size, found.modified)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Walk the directories below the prefix; names that no object has are none of ours."""
        folders = [checked_prefix(prefix).removesuffix("/")]
        while folders:
            folder = folders.pop()
            for entry in await self._call(self._scan, folder):
                path = _join(folder, entry.name)
                if not is_key(path):
                    continue
                if entry.folder:
                    folders.append(path)
                else:
                    yield StoredObject(path, entry.size, entry.modified)

    async def delete(self, key: str) -> None:
        """Unlink and sync, so that what is deleted next cannot be gone before it. Absent is fine."""
        await self._call(self._delete, checked(key))

    async def close(self) -> None:
        """End the threads, letting what they do come to its end."""
        await asyncio.to_thread(self._threads.shutdown)
        self._files.close()

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))
        except OSError as exc:
            raise _finding(exc, self.url, str(args[0])) from exc

    async def _written(self, write: Callable[[str, bytes | memoryview], T], key: str, data: bytes | memoryview) -> T:
        """What is missing where something is written is the place for it."""
        try:
            return await self._call(write, key, data)
        except MissingObjectError as exc:
            raise StoreError(
                "there can be no directory for objects here",
                code="NF-STORE-011",
                where=self.url,
                cause=exc.cause,
                hints=(f"ls -ld {self.url}",),
                retry=Retry.AFTER_FIX,
            ) from exc

    def _put(self, key: str, data: bytes | memoryview) -> None:
        temporary = self._write(data)
        try:
            self._in_folder(key, lambda: self._files.rename(temporary, key))
        except OSError:
            self._forget(temporary)
            raise
        self._files.sync(_folder(key))

    def _create(self, key: str, data: bytes | memoryview) -> bool:
        temporary = self._write(data)
        try:
            won = self._in_folder(key, lambda: self._link(temporary, key))
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            won = self._open_exclusively(key, data)
        finally:
            self._forget(temporary)
        self._files.sync(_folder(key))
        return won

    def _link(self, temporary: str, key: str) -> bool:
        """A taken name may be our own doing, when the first answer was lost: the file then has two names."""
        try:
            self._files.link(temporary, key)
        except FileExistsError:
            return self._files.stat(temporary).links > 1
        return True

    def _open_exclusively(self, key: str, data: bytes | memoryview) -> bool:
        try:
            self._in_folder(key, lambda: self._files.write(key, data))
        except FileExistsError:
            return False
        except OSError:
            self._forget(key)
            raise
        return True

    def _write(self, data: bytes | memoryview) -> str:
        temporary = f"{TEMPORARY}/{secrets.token_hex(12)}"
        try:
            self._in_folder(temporary, lambda: self._files.write(temporary, data))
        except OSError:
            self._forget(temporary)
            raise
        if not self._swept:
            self._swept = True
            self._sweep(self._files.stat(temporary).modified)
        return temporary

    def _sweep(self, now: float) -> None:
        for entry in self._files.scan(TEMPORARY):
            if not entry.folder and now - entry.modified > STALE_AFTER:
                self._forget(_join(TEMPORARY, entry.name))

    def _forget(self, path: str) -> None:
        """Remove if possible; a temporary file that stays is swept one day."""
        try:
            self._files.unlink(path)
        except OSError as exc:
            if exc.errno not in _ABSENT | _FORBIDDEN | {errno.EIO, errno.ESTALE}:
                raise

    def _in_folder(self, path: str, act: Callable[[], T]) -> T:
        """Act where a directory must exist; one that is not there is made."""
        try:
            return act()
        except FileNotFoundError:
            self._make_folders(_folder(path))
            return act()

    def _make_folders(self, folder: str) -> None:
        parts = folder.split("/") if folder else []
        for depth in range(len(parts) + 1):
            try:
                self._files.make_folder("/".join(parts[:depth]))
            except FileExistsError:
                continue

    def _read(self, key: str, offset: int, length: int | None) -> bytes:
        return _again_if_stale(lambda: self._files.read(key, offset, length))

    def _stat(self, key: str) -> FileEntry:
        found = self._files.stat(key)
        if found.folder:
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        return found

    def _scan(self, folder: str) -> Sequence[FileEntry]:
        try:
            return self._files.scan(folder)
        except FileNotFoundError:
            return []

    def _delete(self, key: str) -> None:
        try:
            _again_if_stale(lambda: self._files.unlink(key))
        except OSError as exc:
            if exc.errno not in _ABSENT:
                raise
        else:
            self._files.sync(_folder(key))


def _again_if_stale(act: Callable[[], T]) -> T:
    """A file that was replaced or removed under an operation is looked up anew."""
    for _ in range(REOPENS):
        try:
            return act()
        except OSError as exc:
            if exc.errno != errno.ESTALE:
                raise
    return act()


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _finding(exc: OSError, url: str, key: str) -> NovaFleetError:
    cause = exc.strerror or str(exc)
    where = f"{url} {key}".strip()
    if exc.errno in _ABSENT:
        return MissingObjectError("the object does not exist", where=where, cause=cause)
    if exc.errno in _FULL:
        fix = (f"df -h {url}", f"df -i {url}", f"novafleet backup prune --repo {url} --key-file K")
        return SpaceError(
            "the store has no room for an object", code="NF-DISK-003", where=where, cause=cause, hints=fix
        )
    if exc.errno in _FORBIDDEN:
        return StoreError(
            "the store does not let this user do that",
            code="NF-STORE-010",
            where=where,
            cause=cause,
            hints=("id", f"ls -ld {url}"),
            retry=Retry.AFTER_FIX,
        )
    kind = UnreadableError if exc.errno == errno.EIO else StoreError
    return kind("the store failed", code="NF-STORE-011", where=where, cause=cause)
