"""Files in backups. Names come from guests: they are printed as text, never as markup or control characters."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.console import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from novafleet.app.browse import Fetched, Listed, Part


def show_parts(snapshot: str, parts: Sequence[Part], form: str) -> None:
    """A table, or ``{snapshot, partitions: […]}``."""
    if form != "table":
        console.document({"snapshot": snapshot, "partitions": [encode(part) for part in parts]}, form)
        return
    grid = console.table("", "DISK", "PARTITION", "SIZE", "HOLDS", "NAME")
    for part in parts:
        kind = part.kind or "?"
        grid.add_row(console.text(part.disk), str(part.partition), size(part.size), kind, console.text(part.name))
    console.out().print(grid)


def show_listing(entries: Sequence[Listed], form: str) -> None:
    """As ``ls -l``, or ``{files: […]}``."""
    if form != "table":
        console.document({"files": [encode(entry) for entry in entries]}, form)
        return
    grid = console.table("", "MODE", "UID", "GID", "SIZE", "TIME", "NAME")
    for entry in entries:
        grid.add_row(stat.filemode(entry.mode), str(entry.uid), str(entry.gid), str(entry.size), *_named(entry))
    console.out().print(grid)


def _named(entry: Listed) -> tuple[str, Any]:
    name = f"{entry.name} -> {entry.link}" if entry.link else entry.name
    when = datetime.fromtimestamp(entry.mtime, UTC).strftime("%Y-%m-%d %H:%M")
    return when, console.text(name)


def show_fetched(done: Fetched, form: str) -> None:
    """One line; or ``{snapshot, disk, partition, path, to, size}``."""
    if form != "table":
        console.document(encode(done), form)
        return
    console.out().print(console.text(f"{done.to}: {size(done.size)}", "bold"), soft_wrap=True)
