"""Asking whoever sits at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from novafleet.errors import ConfigError


def agreed(question: str = "Do it?") -> bool:
    """Ask. Raises ConfigError NF-CFG-006 where nobody can answer."""
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to ask", code="NF-CFG-006", hints=("run again with --yes",))
    return typer.confirm(question, err=True)


def confirmation(*, yes: bool) -> Callable[[Sequence[str]], bool]:
    """Shows lines and asks, unless it was said beforehand; what it returns raises as ``agreed``."""

    def ask(lines: Sequence[str]) -> bool:
        if yes:
            return True
        if sys.stdin.isatty():
            for line in lines:
                typer.echo(line, err=True)
        return agreed()

    return ask
