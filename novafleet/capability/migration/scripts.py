"""The shell scripts of this package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from novafleet.model.command import Command


@cache
def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def script(name: str, *arguments: str, mutates: bool = False, become: bool = True) -> Command:
    """One of them as a command, run as root, or with ``become`` False as the login user."""
    return Command.script(_text(name), *arguments, become=become, mutates=mutates)
