"""``restore SNAPSHOT --disk NAME --to-file PATH``: a disk as an image file on the controller. No host is asked."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.repository import open_repository
from novafleet.app.restorepoint import choose, disk_of
from novafleet.capability.backup.pour import content, pour
from novafleet.errors import BackupError, ConfigError, Retry
from novafleet.model.backup import Extent
from novafleet.nbd.server import serve_nbd
from novafleet.ports import BlockSource
from novafleet.repository import KeySource
from novafleet.transport.local import listen_local

Tell = Callable[[str, int, int], None]
FORMATS = ("raw", "qcow2")


@dataclass(frozen=True, slots=True)
class FileRequest:
    """``snapshot``: an id or its beginning, or a VM's name when ``until`` (seconds since the epoch) is not 0."""

    repository: str
    key: KeySource
    snapshot: str
    disk: str
    path: Path
    format: str = "raw"
    force: bool = False
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class FileRestored:
    """The image: its size as a guest sees it, and the bytes of it that are data."""

    snapshot: str
    disk: str
    path: str
    format: str
    size: int
    written: int


class RawFile:
    """A sparse file as ``ports.BlockTarget``; new, so it reads as zeroes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size
        os.ftruncate(descriptor, size)

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""
        return await asyncio.to_thread(os.pread, self._descriptor, length, offset)

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """One: what is in the file is not asked."""
        return [Extent(offset, length)]

    async def write(self, offset: int, data: bytes) -> None:
        """Put data in place."""
        await asyncio.to_thread(self._write, offset, memoryview(data))

    def _write(self, offset: int, data: memoryview) -> None:
        while data:
            count = os.pwrite(self._descriptor, data, offset)
            offset, data = offset + count, data[count:]

    async def zero(self, offset: int, length: int) -> None:
        """Written: a file of any file system takes it."""
        await self.write(offset, bytes(length))

    async def flush(self) -> None:
        """Return when everything is durable."""
        await asyncio.to_thread(os.fsync, self._descriptor)


class Counted:
    """A source that tells how much of it was read."""

    def __init__(self, source: BlockSource, tell: Callable[[int], None]) -> None:
        self._source = source
        self._tell = tell
        self.size = source.size

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""
        data = await self._source.read(offset, length)
        self._tell(length)
        return data

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """What the range consists of."""
        return await self._source.extents(offset, length)


async def restore_file(request: FileRequest, tell: Tell) -> FileRestored:
    """Write one disk. The file appears whole, durable and 0600, or not at all.

    Raises ConfigError NF-BAK-030 for a file that is there (without ``force``), NF-BAK-031 for a disk that is not,
    NF-BAK-040; BackupError NF-BAK-032 when ``qemu-img`` is missing or fails; what the repository raises.
    """
    _refuse(request)
    async with open_repository(request.repository, request.key) as repository:
        snapshot = await choose(repository, request.snapshot, request.until)
        copy = disk_of(snapshot, request.disk)
        source = await repository.disk(copy)
        total, done = await content(source), 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            tell(f"{snapshot.vm} {copy.name}", min(done, total), total)

        async with _in_place(request.path) as temporary:
            await (_raw if request.format == "raw" else _qcow2)(source, temporary, told)
    return FileRestored(snapshot.id, copy.name, str(request.path), request.format, source.size, total)


def _refuse(request: FileRequest) -> None:
    if request.format not in FORMATS:
        raise ConfigError(f"--format takes {', '.join(FORMATS)}, not {request.format!r}", code="NF-BAK-040")
    if request.path.exists() and not request.force:
        raise ConfigError(
            "there is a file already", code="NF-BAK-030", where=str(request.path), hints=("--force replaces it",)
        )
    if request.path.is_dir() or not request.path.parent.is_dir():
        raise ConfigError("--to-file names a file in a folder that exists", code="NF-BAK-040", where=str(request.path))


@asynccontextmanager
async def _in_place(path: Path) -> AsyncIterator[Path]:
    """A name beside ``path`` to write to; at the end it becomes ``path``, after an error it is gone."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            await asyncio.to_thread(os.fsync, file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise BackupError(
            "the image cannot be written", code="NF-BAK-032", where=str(path), cause=str(exc), retry=Retry.AFTER_FIX
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


async def _raw(source: BlockSource, path: Path, tell: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        await pour(source, RawFile(descriptor, source.size), tell)
    finally:
        os.close(descriptor)


async def _qcow2(source: BlockSource, path: Path, tell: Callable[[int], None]) -> None:
    """``qemu-img`` reads our export: holes stay holes."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with tempfile.TemporaryDirectory(prefix="novafleet-restore-") as folder:  # 0700, and so only we reach the socket
        exports = {"disk": Counted(source, tell)}
        async with listen_local(f"{folder}/nbd.sock", lambda channel: serve_nbd(channel, exports)) as socket:
            await _convert(f"nbd+unix:///disk?socket={socket}", path)


async def _convert(url: str, path: Path) -> None:
    words = ("qemu-img", "convert", "-q", "-W", "-m", "8", "-f", "raw", "-O", "qcow2", url, str(path))
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, stderr=pipe)
    except FileNotFoundError as exc:
        raise BackupError(
            "a qcow2 image is made by qemu-img, which this machine does not have",
            code="NF-BAK-032",
            hints=("apt install qemu-utils   # or dnf install qemu-img", "or --format raw: that needs nothing"),
            retry=Retry.AFTER_FIX,
        ) from exc
    try:
        _, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        cause = complaint.decode("utf-8", "replace").strip()[-500:]
        raise BackupError("qemu-img could not make the image", code="NF-BAK-032", where=str(path), cause=cause)
