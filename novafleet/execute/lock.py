"""One run per environment on one controller: an OS file lock, freed by the kernel however the run ends.

Runs on different controllers are kept apart by the lease on each host (``lease.py``).
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from novafleet.errors import LockHeldError, NovaFleetError, Retry
from novafleet.ports import Clock

POLL_SECONDS = 0.2


@asynccontextmanager
async def environment_lock(
    directory: Path, environment: str, run: str, clock: Clock, *, wait: float = 0.0
) -> AsyncIterator[None]:
    """Hold ``DIRECTORY/ENVIRONMENT.lock``; with ``wait``, that many seconds are spent waiting for it.

    Raises LockHeldError NF-LOCK-001 naming the holder; NovaFleetError NF-LOCK-005 when the file cannot be used.
    """
    descriptor = _open(directory, environment)
    try:
        await _lock(descriptor, environment, clock, wait)
        _write(descriptor, _holder(run, clock.now()))
        yield
        _write(descriptor, {})
    finally:
        os.close(descriptor)


def _open(directory: Path, environment: str) -> int:
    # The file is never unlinked: a second opener of the old inode would hold a lock nobody else sees.
    path = directory / f"{quote(environment, safe='')}.lock"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NovaFleetError(
            "the lock file cannot be opened",
            code="NF-LOCK-005",
            where=str(path),
            cause=error.strerror or str(error),
            hints=(f"ls -ld {directory}   # it must be yours and writable",),
            retry=Retry.AFTER_FIX,
        ) from error


async def _lock(descriptor: int, environment: str, clock: Clock, wait: float) -> None:
    deadline = clock.monotonic() + wait
    while not _try_lock(descriptor):
        if clock.monotonic() >= deadline:
            raise _held(environment, _read(descriptor), wait)
        await clock.sleep(POLL_SECONDS)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(run: str, now: float) -> dict[str, Any]:
    identity = {"pid": os.getpid(), "user": getpass.getuser(), "host": socket.gethostname()}
    return {**identity, "since": _when(now), "run": run}


def _when(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def _write(descriptor: int, holder: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        found = {}  # the holder is just writing it
    return found if isinstance(found, dict) else {}


def _held(environment: str, holder: dict[str, Any], waited: float) -> LockHeldError:
    who = "{user}@{host} (pid {pid}, run {run}, since {since})".format(**holder) if "run" in holder else "another run"
    after = f" after waiting {waited:.0f} s" if waited else ""
    return LockHeldError(
        f"environment {environment} is being changed by {who}{after}",
        where=environment,
        hints=("add --lock-wait 60 to wait for it", f"novafleet runs show {holder.get('run', '')}".rstrip()),
    )
