"""Files over a shell: no SFTP server is needed, and root through sudo works the same.

A new content is written beside its place, checked by its SHA-256, made durable and renamed over the old one, so a
reader sees the old file or the new one, whatever breaks in between.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from novafleet.errors import CommandError, NotFoundError, SpaceError
from novafleet.model.command import Command, Completed

if TYPE_CHECKING:
    from novafleet.ports import Streaming

PIECE = 256 * 1024
MISSING = 44
"""Exit status of ``READ`` for a file that is not there."""

MISMATCH = 65
"""Exit status of ``WRITE`` when what arrived is not what was sent; all of it, but wrong, is thrown away."""

LOOK = """\
path=$1 part=$2 sha=$3 mode=$4 owner=$5
if [ -d "$path" ]; then echo "$path is a directory" >&2; exit 21; fi
if [ -f "$path" ] && [ "$(sha256sum < "$path")" = "$sha  -" ]; then
  changed=
  if [ "$(stat -c %a -- "$path")" != "$mode" ]; then chmod -- "$mode" "$path" || exit; changed=yes; fi
  case $owner in
  '') ;;
  *:*) [ "$(stat -c %U:%G -- "$path")" = "$owner" ] || { chown -- "$owner" "$path" || exit; changed=yes; } ;;
  *) [ "$(stat -c %U -- "$path")" = "$owner" ] || { chown -- "$owner" "$path" || exit; changed=yes; } ;;
  esac
  if [ "$changed" ]; then echo adjusted; else echo same; fi
elif [ -f "$part" ]; then
  echo "resume $(stat -c %s -- "$part")"
else
  echo "resume 0"
fi
"""

WRITE = """\
path=$1 part=$2 sha=$3 mode=$4 owner=$5 size=$6 keep=$7
umask 077
[ "$keep" = keep ] || trap 'rm -f -- "$part"' EXIT
cat >> "$part" || exit
have=$(stat -c %s -- "$part")
if [ "$have" != "$size" ] || [ "$(sha256sum < "$part")" != "$sha  -" ]; then
  echo "$have of $size bytes arrived, or they differ" >&2
  [ "$have" -lt "$size" ] || rm -f -- "$part"
  exit 65
fi
chmod -- "$mode" "$part" || exit
if [ "$owner" ]; then chown -- "$owner" "$part" || exit; fi
sync "$part" 2>/dev/null || sync
mv -f -- "$part" "$path" || exit
sync "${path%/*}/" 2>/dev/null || sync
"""

READ = '[ -f "$1" ] || exit 44; exec cat -- "$1"'


class StreamingShell(Protocol):
    """What files need of a host: ``RemoteShell`` is one."""

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        """See ``ports.Shell.run``."""

    def stream(
        self,
        command: Command,
        *,
        stdin: AsyncIterator[bytes] | None = None,
        timeout: float | None = None,
        bulk: bool = False,
    ) -> AbstractAsyncContextManager[Streaming]:
        """See ``ports.Shell.stream``."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a file goes and how it looks there."""

    path: str
    mode: int
    owner: str
    become: bool

    def part(self, suffix: str) -> str:
        """The file beside it that grows until it is whole."""
        folder, name = posixpath.split(self.path)
        return posixpath.join(folder or ".", f".{name[:200]}.{suffix}.part")

    @property
    def destination(self) -> str:
        """The path with a folder in front, whatever the caller wrote."""
        return self.path if "/" in self.path else f"./{self.path}"


async def push(shell: StreamingShell, host: str, content: bytes | Path, placing: Placing) -> bool:
    """Put a file in place if content, mode or owner differ. Raises CommandError NF-FILE-001, SpaceError."""
    sha, size = await asyncio.to_thread(_digest, content)
    keep = isinstance(content, Path)
    part = placing.part(sha[:16] if keep else secrets.token_hex(6))
    looks = (f"{placing.mode:o}", placing.owner)
    look = Command.script(LOOK, placing.destination, part, sha, *looks, become=placing.become, mutates=True)
    answer = _checked(host, placing.path, await shell.run(look, check=False))
    if not answer.startswith("resume"):
        return answer == "adjusted"
    arguments = (placing.destination, part, sha, *looks, str(size), "keep" if keep else "")
    write = Command.script(WRITE, *arguments, become=placing.become, mutates=True)
    done = await _send(shell, write, content, int(answer.split()[1]))
    if done.status == MISMATCH and answer != "resume 0":
        done = await _send(shell, write, content, 0)
    _checked(host, placing.path, done)
    return True


async def pull(shell: StreamingShell, host: str, path: str, *, become: bool) -> bytes:
    """The content of a small file. Raises NotFoundError NF-FILE-404, CommandError NF-FILE-002."""
    done = await shell.run(Command.script(READ, path, become=become), check=False)
    _readable(host, path, done)
    return done.stdout


async def pull_to(shell: StreamingShell, host: str, path: str, target: Path, *, become: bool) -> int:
    """Stream a file to a local path; the old one stays until the new one is whole. Raises as ``pull``."""
    command = Command.script(READ, path, become=become)
    with _replacing(target) as new:
        _readable(host, path, await _receive(shell, command, new))
        return new.tell()


async def _receive(shell: StreamingShell, command: Command, new: BinaryIO) -> Completed:
    complaint = b""
    async with shell.stream(command, bulk=True) as running:
        async for piece in running:
            if piece.stream == 1:
                new.write(piece.data)
            else:
                complaint += piece.data
        return Completed(command.argv, await running.status(), b"", complaint)


async def _send(shell: StreamingShell, command: Command, content: bytes | Path, offset: int) -> Completed:
    output: tuple[list[bytes], list[bytes]] = ([], [])
    async with shell.stream(command, stdin=_pieces(content, offset)) as running:
        async for piece in running:
            output[piece.stream - 1].append(piece.data)
        return Completed(command.argv, await running.status(), b"".join(output[0]), b"".join(output[1]))


async def _pieces(content: bytes | Path, offset: int) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        for start in range(offset, len(content), PIECE):
            yield content[start : start + PIECE]
        return
    with await asyncio.to_thread(content.open, "rb") as source:
        source.seek(offset)
        while data := await asyncio.to_thread(source.read, PIECE):
            yield data


def _checked(host: str, path: str, done: Completed) -> str:
    complaint = done.stderr.decode("utf-8", "replace").strip()
    if done.ok:
        return done.text.strip()
    if "No space left" in complaint or "quota exceeded" in complaint:
        raise SpaceError(
            f"no room for {path}",
            code="NF-DISK-002",
            where=host,
            cause=complaint,
            hints=(f"df -h {path}   # on {host}",),
        )
    raise CommandError(
        f"{path} could not be written",
        status=done.status,
        stderr=complaint,
        code="NF-FILE-001",
        where=host,
        cause=complaint,
        hints=(f"ls -ld {posixpath.dirname(path) or '.'}   # on {host}: does it exist, may the user write there?",),
    )


def _readable(host: str, path: str, done: Completed) -> None:
    complaint = done.stderr.decode("utf-8", "replace").strip()
    if done.status == MISSING:
        raise NotFoundError(f"{path} does not exist", code="NF-FILE-404", where=host)
    if not done.ok:
        raise CommandError(
            f"{path} could not be read",
            status=done.status,
            stderr=complaint,
            code="NF-FILE-002",
            where=host,
            cause=complaint,
            hints=(f"ls -l {path}   # on {host}",),
        )


def _digest(content: bytes | Path) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256")
        return digest.hexdigest(), source.tell()


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place, durable, when the block ends well."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as new:  # noqa: PTH123 - a descriptor, not a path
            yield new
            new.flush()
            os.fsync(new.fileno())
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
