"""Opening the journal's SQLite file, and its errors as findings. Used by ``journal.py`` only.

WAL with ``synchronous=FULL``: a commit is on the disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from novafleet.errors import NovaFleetError, Retry, SpaceError

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
"""How long a commit waits for another novafleet process to finish its own."""

T = TypeVar("T")


def open_database(path: Path) -> sqlite3.Connection:
    """The journal's database, made (file 0600, directory 0700) and given its schema when new.

    Raises NovaFleetError NF-RUN-011 (corrupt), NF-RUN-012 (made by a newer version), NF-RUN-013 (not usable).
    """
    _make_private(path)
    return guarded(path, lambda: _prepare(path))


def _make_private(path: Path) -> None:
    # Only a missing file is opened here: closing any descriptor of a live database would drop the locks
    # SQLite holds on it in this process (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _unusable(path, str(error)) from error


def _prepare(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    found = _version(database)
    if found > SCHEMA_VERSION:
        database.close()
        raise _too_new(path, found)
    if found == 0:
        _create(database)
    return database


def _version(database: sqlite3.Connection) -> int:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
        return 0
    (version,) = database.execute("SELECT max(version) FROM schema_version").fetchone()
    return version or 0


def _create(database: sqlite3.Connection) -> None:
    schema = Path(__file__).with_name("schema.sql").read_text()
    database.executescript("BEGIN IMMEDIATE;\n" + schema + "COMMIT;")


def guarded(path: Path, call: Callable[[], T]) -> T:
    """Run a call on the database; what SQLite raises becomes a finding that names the file and its fix."""
    try:
        return call()
    except sqlite3.Error as error:
        raise _translate(path, error) from error


def _translate(path: Path, error: sqlite3.Error) -> NovaFleetError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _full(path, str(error))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _corrupt(path, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _busy(path, str(error))
    return _unusable(path, str(error))


def _full(path: Path, cause: str) -> NovaFleetError:
    return SpaceError(
        "the journal cannot grow, so nothing more is started: its file system is full",
        code="NF-RUN-010",
        where=str(path),
        cause=cause,
        hints=(f"df -h {path.parent}   # free some space, then: novafleet resume",),
    )


def _corrupt(path: Path, cause: str) -> NovaFleetError:
    return NovaFleetError(
        "the journal is damaged",
        code="NF-RUN-011",
        where=str(path),
        cause=cause,
        hints=(
            f"mv {path} {path}.damaged   # a new one is made; `novafleet up` finds out what exists by looking",
            f"sqlite3 {path}.damaged .recover   # shows what can still be read",
        ),
        retry=Retry.AFTER_FIX,
    )


def _busy(path: Path, cause: str) -> NovaFleetError:
    return NovaFleetError(
        f"another process has been writing the journal for {BUSY_SECONDS:g} s and does not end",
        code="NF-RUN-015",
        where=str(path),
        cause=cause,
        hints=(
            f"fuser -v {path}   # who has it open: a novafleet stopped by Ctrl-Z or a debugger? continue or kill it",
        ),
        retry=Retry.LATER,
    )


def _too_new(path: Path, found: int) -> NovaFleetError:
    return NovaFleetError(
        f"the journal was written by a newer NovaFleet (schema {found}, this one reads {SCHEMA_VERSION})",
        code="NF-RUN-012",
        where=str(path),
        hints=("pip install --upgrade novafleet", "XDG_STATE_HOME=DIR novafleet …   # use another journal"),
        retry=Retry.AFTER_FIX,
    )


def _unusable(path: Path, cause: str) -> NovaFleetError:
    return NovaFleetError(
        "the journal cannot be opened or written",
        code="NF-RUN-013",
        where=str(path),
        cause=cause,
        hints=(f"ls -ld {path.parent} {path}   # both must belong to you; NFS needs working locks",),
        retry=Retry.AFTER_FIX,
    )
