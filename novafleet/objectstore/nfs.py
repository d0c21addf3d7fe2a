"""A repository in an NFS export, without a mount: libnfs in this process, one connection per thread."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ctypes import byref
from dataclasses import dataclass
from typing import TypeVar

from novafleet.errors import Retry, StoreError
from novafleet.objectstore.files import FileEntry, FileStore
from novafleet.objectstore.libnfs import EXPIRED, LOST, Context, Library, Stat, load

T = TypeVar("T")

THREADS = 6
FIRST_PATIENCE, PATIENCE = 5.0, 90.0
"""Seconds for which a server that does not answer is called again, before and after it answered once."""
ATTEMPTS = 5
"""How often a call is made again over fresh connections before its input/output error is believed."""
PIECE = 1 << 20
"""Bytes a call reads or writes, or the server's limit if less; libnfs 5 loses the connection when NFSv4 reads more."""


@dataclass(frozen=True, slots=True)
class Export:
    """Where a repository is. ``port`` 0 asks the server's portmapper (v3) or means 2049 (v4); ids of -1 are ours."""

    server: str
    path: str
    version: int = 3
    port: int = 0
    mountport: int = 0
    uid: int = -1
    gid: int = -1


class NfsStore(FileStore):
    """An ObjectStore in an NFS export. Names are as durable as the server makes them (``sync`` exports do)."""

    def __init__(self, url: str, export: Export) -> None:
        library = load()
        if export.version == 4 and library.major < 5:
            raise StoreError(
                "this libnfs cannot write with NFSv4",
                code="NF-STORE-032",
                where=url,
                hints=("leave out version=4", "sudo apt-get install libnfs14   # Debian 13"),
                retry=Retry.AFTER_FIX,
            )
        super().__init__(url, NfsFiles(url, export, library), threads=THREADS)


class NfsFiles:
    """Files below a path of an export. A call whose connection broke is made again over a new one."""

    def __init__(self, url: str, export: Export, library: Library) -> None:
        self._url, self._export, self._library = url, export, library
        self._mine = threading.local()
        self._contexts: set[Context] = set()
        self._lock = threading.Lock()
        self._below: tuple[str, str] | None = None
        self._patience = FIRST_PATIENCE

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Create, write, commit, on one connection; over a new one it begins again from nothing."""
        self._again(lambda context, again: _write(context, self._at(path), data, replace=again))

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        """Reads until there is no more."""
        return self._again(lambda context, _: _read(context, self._at(path), offset, length))

    def stat(self, path: str) -> FileEntry:
        """LOOKUP and GETATTR."""
        return self._again(lambda context, _: _facts(path, context.stat(self._at(path))))

    def scan(self, path: str) -> list[FileEntry]:
        """READDIRPLUS; what it says nothing about is asked one by one."""
        return self._again(lambda context, _: _scan(context, self._at(path)))

    def make_folder(self, path: str) -> None:
        """MKDIR; of the root, all of it that lies below what could be mounted."""
        if path:
            self._again(lambda context, _: context.call("nfs_mkdir2", self._at(path).encode(), 0o700))
        else:
            self._again(lambda context, _: self._make_root(context))

    def rename(self, path: str, target: str) -> None:
        """RENAME. In a repetition a source that is gone was renamed by the call whose answer was lost."""

        def act(context: Context, again: bool) -> None:
            try:
                context.call("nfs_rename", self._at(path).encode(), self._at(target).encode())
            except FileNotFoundError:
                if not again or _absent(context, self._at(target)):
                    raise

        self._again(act)

    def link(self, path: str, target: str) -> None:
        """LINK."""
        self._again(lambda context, _: context.call("nfs_link", self._at(path).encode(), self._at(target).encode()))

    def unlink(self, path: str) -> None:
        """REMOVE."""
        self._again(lambda context, _: context.call("nfs_unlink", self._at(path).encode()))

    def sync(self, path: str) -> None:
        """Nothing: NFS has no commit of directories; its server answers when their change is durable."""

    def close(self) -> None:
        """Close the connections; no call may be under way."""
        with self._lock:
            for context in self._contexts:
                context.destroy()
            self._contexts.clear()

    def _at(self, path: str) -> str:
        assert self._below is not None
        return "/" + "/".join(part for part in (self._below[1], path) if part)

    def _again(self, act: Callable[[Context, bool], T]) -> T:
        attempt, since, pause = 0, time.monotonic(), 0.05
        while True:
            context = self._context()
            try:
                return act(context, attempt > 0)
            except OSError as exc:
                waited = time.monotonic() - since
                if not ((exc.errno in LOST and attempt < ATTEMPTS) or (exc.errno in EXPIRED and waited < PATIENCE)):
                    raise
                self._drop(context)
            time.sleep(pause)
            attempt, pause = attempt + 1, min(pause * 2, 5.0)

    def _context(self) -> Context:
        """The connection of this thread, made while the server is waited for."""
        context: Context | None = getattr(self._mine, "context", None)
        if context is None:
            context = self._connect()
            self._mine.context = context
            self._patience = PATIENCE
        return context

    def _drop(self, context: Context) -> None:
        self._mine.context = None
        with self._lock:
            self._contexts.discard(context)
        context.abandon()

    def _connect(self) -> Context:
        since, pause = time.monotonic(), 0.1
        while True:
            try:
                return self._mount()
            except OSError as exc:
                if exc.errno not in LOST or time.monotonic() - since > self._patience:
                    raise self._refused(exc) from exc
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _mount(self) -> Context:
        """Mount the longest part of the path that can be; the rest is a directory to be made, or found, below it."""
        with self._lock:
            parts = [part for part in self._export.path.split("/") if part]
            known = len([part for part in self._below[0].split("/") if part]) if self._below else len(parts)
            refusal: OSError | None = None
            for depth in range(known, -1, -1):
                top, rest = "/" + "/".join(parts[:depth]), "/".join(parts[depth:])
                try:
                    context = self._mounted(top)
                except (FileNotFoundError, PermissionError, NotADirectoryError) as exc:
                    refusal = refusal or exc
                    continue
                self._below = (top, rest)
                self._contexts.add(context)
                return context
            raise refusal or FileNotFoundError(errno.ENOENT, "nothing to mount")

    def _mounted(self, path: str) -> Context:
        export = self._export
        options = [f"version={export.version}"]
        options += [f"nfsport={export.port}"] if export.port else []
        options += [f"mountport={export.mountport}"] if export.mountport else []
        context = Context(self._library, "&".join(options), (export.uid, export.gid))
        try:
            context.call("nfs_mount", export.server.encode(), path.encode())
        except OSError:
            context.abandon()
            raise
        return context

    def _make_root(self, context: Context) -> None:
        assert self._below is not None
        parts = self._below[1].split("/") if self._below[1] else []
        if not parts:
            raise FileExistsError(errno.EEXIST, "it is what is mounted")
        for depth in range(len(parts)):
            with suppress(FileExistsError):
                context.call("nfs_mkdir2", ("/" + "/".join(parts[: depth + 1])).encode(), 0o700)

    def _refused(self, exc: OSError) -> StoreError:
        server = self._export.server
        return StoreError(
            "the NFS server does not answer or does not let us in",
            code="NF-STORE-031",
            where=self._url,
            cause=exc.strerror or str(exc),
            hints=(f"showmount -e {server}", f"rpcinfo -p {server}"),
            retry=Retry.LATER if exc.errno in LOST else Retry.AFTER_FIX,
        )


def _write(context: Context, path: str, data: bytes | memoryview, *, replace: bool) -> None:
    if replace:
        with suppress(FileNotFoundError):
            context.call("nfs_unlink", path.encode())
    handle = context.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    start = _address(data)
    try:
        done, most = 0, min(PIECE, context.call("nfs_get_writemax"))
        while done < len(data):
            piece = min(most, len(data) - done)
            try:
                done += context.call("nfs_pwrite", handle, done, piece, start + done)
            except OSError as exc:
                raise _reason(exc, context, path, piece) from exc
        context.call("nfs_fsync", handle)
    finally:
        context.call("nfs_close", handle)


def _address(data: bytes | memoryview) -> int:
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def _reason(exc: OSError, context: Context, path: str, needed: int) -> OSError:
    """libnfs 4.0.0 answers EFAULT to a write that failed, whatever the server said: is its disk full?"""
    if exc.errno == errno.EFAULT:
        try:
            room = context.room(path)
        except OSError:
            return exc  # the connection is gone, which EFAULT may mean too
        if room < needed:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return exc


def _read(context: Context, path: str, offset: int, length: int | None) -> bytes:
    handle = context.open(path, os.O_RDONLY)
    try:
        facts = Stat()
        context.call("nfs_fstat64", handle, byref(facts))
        if not stat.S_ISREG(facts.mode):
            raise IsADirectoryError(errno.EISDIR, "is no file")
        end = facts.size if length is None else min(facts.size, offset + length)
        content = ctypes.create_string_buffer(max(end - offset, 0))
        done, most = 0, min(PIECE, context.call("nfs_get_readmax"))
        while offset + done < end:
            piece = min(most, end - offset - done)
            got = context.call("nfs_pread", handle, offset + done, piece, ctypes.addressof(content) + done)
            if not got:
                break
            done += got
    finally:
        context.call("nfs_close", handle)
    return content.raw[:done]


def _scan(context: Context, path: str) -> list[FileEntry]:
    found = []
    for name, entry in context.entries(path):
        if not entry.type:
            with suppress(FileNotFoundError):
                found.append(_facts(name, context.stat(f"{path}/{name}")))
        elif entry.type in (1, 2):  # NF3REG, NF3DIR
            modified = entry.mtime.seconds + entry.mtime_nsec / 1e9
            found.append(FileEntry(name, entry.type == 2, entry.size, modified, entry.nlink))
    return found


def _facts(name: str, facts: Stat) -> FileEntry:
    modified = facts.mtime + facts.mtime_nsec / 1e9
    return FileEntry(name, stat.S_ISDIR(facts.mode), facts.size, modified, facts.nlink)


def _absent(context: Context, path: str) -> bool:
    try:
        context.stat(path)
    except FileNotFoundError:
        return True
    return False
