"""The offending line with an arrow under the column, as compilers show it."""

from __future__ import annotations

WIDTH = 100


def excerpt(text: str, line: int, column: int) -> str:
    """The source line (counted from 1) with its number, and below it a caret under ``column``; "" if there is none."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    column = max(column, 1)
    start = max(0, column - WIDTH + 20)
    shown = "".join(c if c.isprintable() else " " for c in lines[line - 1][start : start + WIDTH])
    gutter = f"{line:>5} | "
    return f"{gutter}{shown.rstrip()}\n{' ' * (len(gutter) + column - 1 - start)}^"
