"""The controller's own download of an image, for hosts that cannot reach its URL. Resumable, verified, kept once."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from novafleet.errors import ImageError, Retry

CHUNK = 1 << 20
TIMEOUT = 60.0
Progress = Callable[[int, int], None]


async def download(url: str, sha256: str, directory: Path, progress: Progress) -> Path:
    """``DIRECTORY/SHA256`` with the content of ``url``; ``progress(done, total)`` in bytes.

    Raises ImageError NF-IMG-002 for another digest (nothing is kept), NF-IMG-003 when it cannot be had.
    """
    target = directory / sha256
    cancelled = threading.Event()
    try:
        await asyncio.to_thread(_obtain, url, sha256, target, progress, cancelled)
    finally:
        cancelled.set()
    return target


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_digest(place: str, expected: str, came: str) -> ImageError:
    """NF-IMG-002, both digests named."""
    return ImageError(
        f"{place} is not what the file asks for",
        code="NF-IMG-002",
        cause=f"expected sha256 {expected}, got {came}",
        hints=(f"if the new content is right, set `sha256: {came}`", "if not, the source was changed: do not use it"),
        retry=Retry.AFTER_FIX,
    )


def _obtain(url: str, sha256: str, target: Path, progress: Progress, cancelled: threading.Event) -> None:
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a second host that asks waits for this download
            if target.is_file():
                return
            _append(url, file, progress, cancelled)
            came = digest(part)
            if came != sha256:
                part.unlink()
                raise wrong_digest(url, sha256, came)
            part.rename(target)
    except OSError as error:  # urllib's URLError is one
        raise _failed(url, error) from error


def _append(url: str, file: BinaryIO, progress: Progress, cancelled: threading.Event) -> None:
    at = file.tell()
    # The scheme is one of http, https: the plan let no other pass.
    request = urllib.request.Request(url, headers={"Range": f"bytes={at}-"} if at else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is whole, or longer than the file: its digest will tell
            return
        raise
    with response:
        if at and response.status != 206:
            file.truncate(0)
            at = 0
        total = at + int(response.headers.get("Content-Length") or 0)
        while not cancelled.is_set() and (chunk := response.read(CHUNK)):
            file.write(chunk)
            at += len(chunk)
            progress(at, total)
    file.flush()


def _failed(url: str, error: OSError) -> ImageError:
    return ImageError(
        f"{url} cannot be downloaded, neither by the host nor by this machine",
        code="NF-IMG-003",
        cause=str(error),
        hints=(f"curl -fIL {url}", "or download it yourself and use `path:` instead of `url:`"),
        retry=Retry.LATER,
    )
