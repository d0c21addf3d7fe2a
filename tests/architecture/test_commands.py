"""Commands that errors and pages tell the reader to run are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import typer

from novafleet.cli.main import app
from tests.architecture.test_structure import ROOT, SOURCES

TOLD = re.compile(r"(?<![\w/.~-])(?:novafleet|nf) (?:-i \S+ )?((?:[a-z][a-z-]* ?){1,3})")
PAGES = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
PROSE = {"import", "key", "process", "stopped"}
"""What follows the word where it is no command."""


def told() -> Iterator[tuple[str, Path]]:
    """The words after the program's name, with where they stand."""
    for path in (*SOURCES, *(page for page in PAGES if "_build" not in page.parts)):
        for found in TOLD.findall(path.read_text()):
            yield found, path.relative_to(ROOT)


def unknown(words: list[str]) -> str:
    """The first word that names no command, where one must."""
    command: click.Command = typer.main.get_command(app)
    for word in words:
        if not isinstance(command, click.Group) or command.name == "migrate":  # `migrate VM` means `migrate vm VM`
            return ""
        found = command.get_command(click.Context(command), word)
        if found is None:
            return word
        command = found
    return ""


def test_every_command_told_of_exists() -> None:
    asked = {text: path for text, path in told() if text.split()[0] not in PROSE}
    assert len(asked) > 100, "nothing was looked at"
    assert {text: str(path) for text, path in asked.items() if unknown(text.split())} == {}
