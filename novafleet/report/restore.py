"""Restores: what was brought back, and where it is."""

from __future__ import annotations

from novafleet.app.restorefile import FileRestored
from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.backup import human


def show_file(done: FileRestored, form: str) -> None:
    """One line; or ``{snapshot, disk, path, format, size, written}``."""
    if form != "table":
        console.document(encode(done), form)
        return
    line = f"{done.disk} of {done.snapshot} is in {done.path}: {human(done.size)}, {human(done.written)} of it data"
    console.out().print(console.text(line, "bold"), soft_wrap=True)
