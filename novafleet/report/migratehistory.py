"""Migrations, foretold and measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console

if TYPE_CHECKING:
    from novafleet.app.migratehistory import History
    from novafleet.capability.migration.score import Scored


def show(history: History, form: str) -> None:
    """A table, or ``{migrations: […], summary: {…}}``."""
    if form != "table":
        console.document(document(history), form)
        return
    grid = console.table("", "ENDED", "VM", "FROM", "TO", "MODE", "PATH", "TIME", "FORETOLD", "STOOD STILL", "FORETOLD")
    for row in history.rows:
        grid.add_row(*(console.text(cell) for cell in _cells(row)))
    console.out().print(grid)
    total = history.summary
    if total.factor:
        line = f"{total.count} migrations took {total.factor:.1f} times as long as foretold (the middle one);"
        console.out().print(console.text(f"{line} {total.within:.0%} stood still no longer than foretold"))


def document(history: History) -> Mapping[str, Any]:
    """The stable form."""
    rows = [{**encode(row), "factor": round(row.factor, 2), "within": row.within} for row in history.rows]
    return {"migrations": rows, "summary": encode(history.summary)}


def _cells(row: Scored) -> Iterator[str]:
    yield time.strftime("%Y-%m-%d %H:%M", time.localtime(row.at))
    yield from (row.vm, row.source, row.destination, row.mode.value, row.path.value)
    yield f"{row.seconds:.1f} s"
    yield f"{row.foretold_seconds:.1f} s" if row.foretold_seconds else "-"
    yield f"{row.downtime_ms:.0f} ms" if row.downtime_ms >= 0 else "-"
    low, high = row.foretold_downtime
    yield f"{low:.0f}-{high:.0f} ms"
