"""The offending line with an arrow under the column, as compilers show it."""

from __future__ import annotations

from collections.abc import Mapping

from novafleet.errors import ConfigError, ConfigErrors, Location

WIDTH = 100
_GUTTER = " | "


def excerpt(text: str, line: int, column: int) -> str:
    """The source line (counted from 1) with its number, and below it a caret under ``column``; "" if there is none."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    column = max(column, 1)
    start = max(0, column - WIDTH + 20)
    shown = "".join(c if c.isprintable() else " " for c in lines[line - 1][start : start + WIDTH])
    gutter = f"{line:>5}{_GUTTER}"
    return f"{gutter}{shown.rstrip()}\n{' ' * (len(gutter) + column - 1 - start)}^"


def illustrate(error: ConfigError, texts: Mapping[str, str]) -> None:
    """Add the line it is about to an error's cause, unless it is there; ``texts`` by the file name of locations."""
    for each in error.errors if isinstance(error, ConfigErrors) else (error,):
        where = each.where
        if isinstance(where, Location) and _GUTTER not in each.cause:
            shown = excerpt(texts.get(where.file, ""), where.line, where.column)
            each.cause = f"{each.cause}\n{shown}" if shown else each.cause
