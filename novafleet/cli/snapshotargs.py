"""Options and arguments the verbs of ``snapshot`` share, and what each does at its end."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
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
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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


def seconds_of(text: str) -> float:
    """``7d``, ``12h``; empty is 0. Raises ConfigError NF-CFG-005."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text or "0s")
    if found is None:
        raise ConfigError(f"--ttl takes a time such as 12h or 7d, not {text!r}", code="NF-CFG-005")
    return float(found[1]) * UNITS[found[2]]


def mode_of(text: str, option: str, modes: Sequence[str] = MODES) -> str:
    """One of the modes, or empty. Raises ConfigError NF-CFG-005."""
    if text not in ("", *modes):
        raise ConfigError(f"{option} takes {', '.join(modes)}, not {text!r}", code="NF-CFG-005")
    return text


def confirmation(*, yes: bool) -> Callable[[Sequence[str]], bool]:
    """Shows lines and asks; what it returns raises ConfigError NF-CFG-006 where nobody is there."""

    def ask(lines: Sequence[str]) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to ask", code="NF-CFG-006", hints=("run again with --yes",))
        for line in lines:
            typer.echo(line, err=True)
        return typer.confirm("Do it?", err=True)

    return ask


def finish(done: Done, form: str) -> None:
    """Show what became of a run; its exit status."""
    from novafleet.report.snapshot import done as show_done

    show_done(done, form)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
