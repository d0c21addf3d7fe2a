"""A repository in a directory: of this machine, or of anything the kernel has mounted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from novafleet.objectstore.files import FileEntry, FileStore


class DirectoryStore(FileStore):
    """An ObjectStore in a directory, which is made on the first write. Nobody but the owner can read it."""

    def __init__(self, path: Path) -> None:
        root = path.expanduser().absolute()
        super().__init__(str(root), LocalFiles(root))


class LocalFiles:
    """``os`` below a root. One that was there and is not any more is never made anew: it was unmounted, and what is
    written would lie hidden below the mount point."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._mounted: bool | None = None
        """Whether the root is a mount point itself; None until something was found in it."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """O_EXCL, all bytes, fsync. An error of close(2) counts: NFS reports a full disk there."""
        self._refuse_if_gone()
        descriptor = os.open(self._at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with _closing(descriptor):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        """pread(2) until there is no more."""
        with self._found():
            descriptor = os.open(self._at(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with _closing(descriptor):
            end = os.fstat(descriptor).st_size
            if length is not None:
                end = min(end, offset + length)
            pieces = []
            while offset < end and (piece := os.pread(descriptor, end - offset, offset)):
                pieces.append(piece)
                offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stat(self, path: str) -> FileEntry:
        """lstat(2): a symbolic link is no object."""
        with self._found():
            return _entry(path, os.lstat(self._at(path)))

    def scan(self, path: str) -> list[FileEntry]:
        """Files and directories; a name that vanishes meanwhile is left out."""
        found = []
        with self._found(), os.scandir(self._at(path)) as entries:
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode):
                    found.append(_entry(entry.name, facts))
        return found

    def make_folder(self, path: str) -> None:
        """mkdir(2), and its name made durable."""
        if path:
            Path(self._at(path)).mkdir(mode=0o700)
            self.sync(path.rpartition("/")[0])
        else:
            self._refuse_if_gone()
            Path(self._root).parent.mkdir(parents=True, exist_ok=True)
            Path(self._root).mkdir(mode=0o700)
            self.sync("..")

    def rename(self, path: str, target: str) -> None:
        """rename(2)."""
        os.replace(self._at(path), self._at(target))  # noqa: PTH105 - paths are strings here, 100,000 of them

    def link(self, path: str, target: str) -> None:
        """link(2)."""
        os.link(self._at(path), self._at(target))

    def unlink(self, path: str) -> None:
        """unlink(2)."""
        with self._found():
            os.unlink(self._at(path))  # noqa: PTH108

    def sync(self, path: str) -> None:
        """fsync(2) of a directory; EINVAL is the answer of file systems that have nothing to sync."""
        descriptor = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with _closing(descriptor):
            try:
                os.fsync(descriptor)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def _found(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._refuse_if_gone()
            raise
        if self._mounted is None:
            self._mounted = Path(self._root).is_mount()

    def _refuse_if_gone(self) -> None:
        root = Path(self._root)
        if self._mounted is not None and not (root.is_mount() if self._mounted else root.is_dir()):
            raise OSError(errno.ESTALE, "the directory of the repository is gone: is its file system still mounted?")

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _entry(name: str, facts: os.stat_result) -> FileEntry:
    folder = stat.S_ISDIR(facts.st_mode)
    return FileEntry(name, folder, facts.st_size, facts.st_mtime, facts.st_nlink)
