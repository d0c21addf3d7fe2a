"""The two terminals. rich honours ``NO_COLOR``, pipes and widths; host text is printed as text, never as markup."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
PLAIN_WIDTH = 160
"""Columns when neither a terminal nor COLUMNS tells: enough for a table in a log."""


@cache
def out() -> Console:
    """Results."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """Progress and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    told = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if told else PLAIN_WIDTH)


def document(value: Any, form: str) -> None:
    """Print a machine-readable result: ``json`` or ``yaml``."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    if form == "yaml":
        sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=unicode))
    else:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=not unicode) + "\n")
    sys.stdout.flush()


def table(title: str, *columns: str) -> Table:
    """A table that folds rather than cuts."""
    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    return grid


def text(value: object, style: str = "") -> Text:
    """Foreign text as text: control characters are shown, not obeyed; paths are told from the working directory."""
    return Text("".join(_visible(char) for char in _from_here(str(value))), style=style)


def _from_here(value: str) -> str:
    """Without the working directory where a path begins with it; it may be gone."""
    try:
        here = str(Path.cwd())
    except OSError:
        return value
    return value if here == "/" else re.sub(rf"(?<![\w./-]){re.escape(here)}/(?=[\w.])", "", value)


def _visible(char: str) -> str:
    return char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}"


def size(count: float) -> str:
    """Bytes for people: ``1.5 GiB``."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:.0f} B"
