"""The system's libnfs (an NFS client in user space) by ctypes. Calls block and let other threads run.

Written against ``nfsc/libnfs.h`` of 4.0.0 (Debian 12) and 5.0.2 (Debian 13), whose calls used here are the same;
libnfs 6 changed the order of ``nfs_pread``'s arguments, so it is not taken.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_long, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from novafleet.errors import Retry, StoreError

SONAMES = {"libnfs.so.14": 5, "libnfs.so.13": 4}
"""What the packages libnfs14 and libnfs13 bring: major versions."""
TIMEOUT = 30_000
"""Milliseconds that the server may take for one answer."""


class Stat(Structure):
    """``struct nfs_stat_64``."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            *("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks", "atime", "mtime"),
            *("ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
        )
    ]


class Room(Structure):
    """``struct nfs_statvfs_64``."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            *("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "fsid", "flag", "namemax"),
        )
    ]


class _Time(Structure):
    _fields_ = [("seconds", c_long), ("microseconds", c_long)]


class Entry(Structure):
    """``struct nfsdirent``; its attributes are those of READDIRPLUS, ``type`` is 0 where the server sent none."""


Entry._fields_ = [
    *(("next", POINTER(Entry)), ("name", c_char_p), ("inode", c_uint64), ("type", c_uint32), ("mode", c_uint32)),
    *(("size", c_uint64), ("atime", _Time), ("mtime", _Time), ("ctime", _Time)),
    *(("uid", c_uint32), ("gid", c_uint32), ("nlink", c_uint32)),
    *((name, c_uint64) for name in ("dev", "rdev", "blksize", "blocks", "used")),
    *((name, c_uint32) for name in ("atime_nsec", "mtime_nsec", "ctime_nsec")),
]

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "nfs_init_context": (c_void_p, ()),
    "nfs_destroy_context": (None, (c_void_p,)),
    "nfs_parse_url_dir": (c_void_p, (c_void_p, c_char_p)),
    "nfs_destroy_url": (None, (c_void_p,)),
    "nfs_get_error": (c_char_p, (c_void_p,)),
    "nfs_get_fd": (c_int, (c_void_p,)),
    "nfs_set_timeout": (None, (c_void_p, c_int)),
    "nfs_set_autoreconnect": (None, (c_void_p, c_int)),
    "nfs_set_dircache": (None, (c_void_p, c_int)),
    "nfs_set_uid": (None, (c_void_p, c_int)),
    "nfs_set_gid": (None, (c_void_p, c_int)),
    "nfs4_set_client_name": (None, (c_void_p, c_char_p)),
    "nfs4_set_verifier": (None, (c_void_p, c_char_p)),
    "nfs_get_readmax": (c_uint64, (c_void_p,)),
    "nfs_get_writemax": (c_uint64, (c_void_p,)),
    "nfs_mount": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_open2": (c_int, (c_void_p, c_char_p, c_int, c_int, POINTER(c_void_p))),
    "nfs_close": (c_int, (c_void_p, c_void_p)),
    "nfs_pread": (c_int, (c_void_p, c_void_p, c_uint64, c_uint64, c_void_p)),
    "nfs_pwrite": (c_int, (c_void_p, c_void_p, c_uint64, c_uint64, c_void_p)),
    "nfs_fsync": (c_int, (c_void_p, c_void_p)),
    "nfs_fstat64": (c_int, (c_void_p, c_void_p, POINTER(Stat))),
    "nfs_lstat64": (c_int, (c_void_p, c_char_p, POINTER(Stat))),
    "nfs_statvfs64": (c_int, (c_void_p, c_char_p, POINTER(Room))),
    "nfs_mkdir2": (c_int, (c_void_p, c_char_p, c_int)),
    "nfs_rename": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_link": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_unlink": (c_int, (c_void_p, c_char_p)),
    "nfs_opendir": (c_int, (c_void_p, c_char_p, POINTER(c_void_p))),
    "nfs_readdir": (POINTER(Entry), (c_void_p, c_void_p)),
    "nfs_closedir": (None, (c_void_p, c_void_p)),
}


class Library:
    """libnfs with its signatures. ``major`` is 4 or 5."""

    def __init__(self, dll: ctypes.CDLL, major: int) -> None:
        self.major = major
        self._dll = dll
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(dll, name)
            function.restype, function.argtypes = result, list(arguments)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._dll, name)  # type: ignore[no-any-return]


@cache
def load() -> Library:
    """The library that is installed. Raises StoreError NF-STORE-030."""
    causes = []
    for soname, major in SONAMES.items():
        try:
            return Library(ctypes.CDLL(soname), major)
        except OSError as exc:
            causes.append(str(exc))
    raise StoreError(
        "nfs:// needs libnfs, which is not installed",
        code="NF-STORE-030",
        cause=causes[0],
        hints=("sudo apt-get install libnfs13   # Debian 12; libnfs14 on Debian 13",),
        retry=Retry.AFTER_FIX,
    )


class Context:
    """One connection: calls of one thread at a time. Each raises OSError."""

    def __init__(self, library: Library, options: str, ids: tuple[int, int]) -> None:
        self._library = library
        self._context = library.nfs_init_context()
        library.nfs_destroy_url(library.nfs_parse_url_dir(self._context, f"nfs://server/export?{options}".encode()))
        library.nfs_set_timeout(self._context, TIMEOUT)
        # With a lost connection unstable writes are in doubt; libnfs compares no write verifiers, so we begin anew.
        library.nfs_set_autoreconnect(self._context, 0)
        library.nfs_set_dircache(self._context, 0)
        if ids[0] >= 0:
            library.nfs_set_uid(self._context, ids[0])
        if ids[1] >= 0:
            library.nfs_set_gid(self._context, ids[1])
        # NFSv4: contexts of one name expire each other (NFS4ERR_EXPIRED).
        library.nfs4_set_client_name(self._context, f"novafleet-{os.getpid()}-{os.urandom(8).hex()}".encode())
        library.nfs4_set_verifier(self._context, os.urandom(4).hex().encode())

    def call(self, name: str, *arguments: Any) -> int:
        """``NAME(context, …)``; a negative answer is an errno."""
        done: int = getattr(self._library, name)(self._context, *arguments)
        if done < 0:
            said = self._library.nfs_get_error(self._context) or b""
            raise OSError(-done, said.decode(errors="replace")[:300] or os.strerror(-done))
        return done

    def open(self, path: str, flags: int, mode: int = 0) -> c_void_p:
        """A file handle, for ``call("nfs_close", …)``."""
        handle = c_void_p()
        self.call("nfs_open2", path.encode(), flags, mode, byref(handle))
        return handle

    def stat(self, path: str) -> Stat:
        """Attributes of a path, or of the link itself."""
        found = Stat()
        self.call("nfs_lstat64", path.encode(), byref(found))
        return found

    def room(self, path: str) -> int:
        """Bytes that may be written to the file system of a path; 0 when it has no room for another file."""
        found = Room()
        self.call("nfs_statvfs64", path.encode(), byref(found))
        return found.bavail * found.frsize if found.favail else 0

    def entries(self, path: str) -> list[tuple[str, Entry]]:
        """Names in a directory, but ``.`` and ``..``."""
        folder = c_void_p()
        self.call("nfs_opendir", path.encode(), byref(folder))
        found = []
        try:
            while entry := self._library.nfs_readdir(self._context, folder):
                name = os.fsdecode(entry.contents.name)
                if name not in (".", ".."):
                    found.append((name, Entry.from_buffer_copy(entry.contents)))
        finally:
            self._library.nfs_closedir(self._context, folder)
        return found

    def destroy(self) -> None:
        """Close the connection and free what it held. Only for one that is sound."""
        self._library.nfs_destroy_context(self._context)

    def abandon(self) -> None:
        """Close a broken connection. Its memory is not freed: libnfs 4.0.0 frees a request under way twice
        (nfs_destroy_context, rpc_free_pdu), which ends the process."""
        descriptor: int = self._library.nfs_get_fd(self._context)
        if descriptor >= 0:
            os.close(descriptor)


LOST = {
    *(errno.EFAULT, errno.EINTR, errno.EIO, errno.ETIMEDOUT, errno.EPIPE),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH),
}
"""What calls end with when the connection broke, besides real input/output errors."""
EXPIRED = {errno.EAGAIN, errno.ERANGE}
"""What NFSv4 answers after a pause longer than its lease (libnfs renews none), and during a restarted server's grace
period; ERANGE is libnfs's number for what it has none for."""
