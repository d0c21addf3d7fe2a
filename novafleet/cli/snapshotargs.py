"""What options of ``snapshot`` may say, and what each verb does at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.app.party import Done

MODES = ("crash", "fs", "live")
KINDS = ("auto", "internal", "external")
STACKS = ("pause", "stop", "skip")


def finish(done: Done, form: str) -> None:
    """Show what became of a run; its exit status."""
    from novafleet.report.snapshot import done as show_done

    show_done(done, form)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
