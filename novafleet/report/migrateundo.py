"""What can be undone, until when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novafleet.report import console, findings
from novafleet.report.console import size

if TYPE_CHECKING:
    from novafleet.app.migrateundo import Kept
    from novafleet.capability.migration.quarantine import Quarantine


def show(found: Kept, form: str) -> None:
    """A table, or ``{kept: […], dropped: […], unseen: {…}}``."""
    if form != "table":
        console.document(document(found), form)
        return
    grid = console.table("", "VM", "CAME FROM", "WENT TO", "MODE", "WHEN", "UNDO UNTIL", "KEPT")
    for each in found.kept:
        until = _when(each.until) if each.until > found.now else f"{_when(each.until)} (over)"
        words = (each.domain, each.host, each.destination, each.mode, _when(each.at), until, size(each.size))
        grid.add_row(*(console.text(word) for word in words))
    console.out().print(grid)
    for each in found.dropped:
        console.out().print(console.text(f"dropped {each.domain} of {each.host}: {size(each.size)}"))
    findings.show(tuple(found.unseen.values()))


def document(found: Kept) -> Mapping[str, Any]:
    """The stable form."""
    return {
        "kept": [_row(each) for each in found.kept],
        "dropped": [_row(each) for each in found.dropped],
        "unseen": {host: error.finding() for host, error in found.unseen.items()},
    }


def _row(each: Quarantine) -> Mapping[str, Any]:
    return {
        "vm": each.vm,
        "domain": each.domain,
        "environment": each.environment,
        "source": each.host,
        "destination": each.destination,
        "mode": each.mode,
        "at": each.at,
        "undo_until": each.until,
        "bytes": each.size,
        "committed": each.committed,
    }


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
