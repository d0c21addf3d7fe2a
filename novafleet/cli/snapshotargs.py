"""Options and arguments the verbs of ``snapshot`` share, and what each does at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from novafleet.cli.run import inventory_of
from novafleet.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from novafleet.app.snapshotrun import Done, Selected

MODES = ("crash", "fs", "live")
KINDS = ("auto", "internal", "external")
STACKS = ("pause", "stop", "skip")


def selected(
    context: typer.Context,
    inventory: Sequence[Path] | None,
    patterns: Sequence[str] | None,
    environment: str,
    file: Path | None,
    lock_wait: float = 0.0,
) -> Selected:
    """The VMs the options mean. Raises ConfigError."""
    from novafleet.app.snapshotrun import Selected

    if file is not None:
        environment = _environment_of(file)
    return Selected(inventory_of(context, inventory), tuple(patterns or ()), environment, lock_wait)


def _environment_of(file: Path) -> str:
    """The ``environment:`` of a file, which need not be valid otherwise. Raises ConfigError."""
    from novafleet.source.load import load

    named = load(file).fields.get("environment")
    if named is None or not isinstance(named.value, str) or "${" in named.value:
        hints = ("or name it: --environment ENV",)
        raise ConfigError("the file names no environment", code="NF-CFG-005", where=str(file), hints=hints)
    return named.value


def finish(done: Done, form: str) -> None:
    """Show what became of a run; its exit status."""
    from novafleet.report.snapshot import done as show_done

    show_done(done, form)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
