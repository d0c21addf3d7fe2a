"""Which format a file is in, by what stands in it; the file's name has no say."""

from __future__ import annotations

import os
import re
from enum import Enum
from pathlib import Path

from novafleet.errors import ConfigError, Location


class Format(Enum):
    """``YAML`` is NovaFleet's or Ansible's: the parsed file tells."""

    PROGRAM = "program"
    YAML = "yaml"
    INI = "ini"


_BINARY = b"\x7fELF"
_INI_SECTION = re.compile(r"\[[^\[\]:,\s]+(:\w+)?\]\s*([#;].*)?")
_YAML_START = re.compile(r"---|%YAML|[{?]|- |[^\s#=]([^=:]|:(?!\s|$))*:(\s|$)")


def of_file(path: Path) -> Format | None:
    """``PROGRAM``, or None for text. Raises ConfigError NF-INV-001 (unreadable), -013 (a script nobody may run)."""
    if path.exists() and not path.is_file():
        raise ConfigError(
            "an inventory is a file or a directory, this is neither",
            code="NF-INV-001",
            where=Location(str(path)),
            hints=("save what it gives to a file",),
        )
    try:
        with path.open("rb") as file:
            start = file.read(4)
        runnable = os.access(path, os.X_OK)
    except OSError as exc:
        raise unreadable(path, exc) from exc
    if not start.startswith(b"#!") and start != _BINARY:
        return None
    if runnable:
        return Format.PROGRAM
    raise ConfigError(
        "this is a program that may not be run",
        code="NF-INV-013",
        where=Location(str(path)),
        hints=(f"chmod +x {path}",),
    )


def unreadable(path: Path, exc: OSError) -> ConfigError:
    """NF-INV-001 for a path that is missing or closed to us."""
    missing = isinstance(exc, FileNotFoundError)
    return ConfigError(
        "there is no such inventory" if missing else "the inventory cannot be read",
        code="NF-INV-001",
        where=Location(str(path)),
        cause="" if missing else exc.strerror or str(exc),
        hints=("name one with -i, or make one here: novafleet init",) if missing else (f"ls -ld {path}",),
    )


def of_text(text: str) -> Format:
    """``INI`` or ``YAML``, by the first line that says something."""
    for line in text.lstrip("\ufeff").splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if _INI_SECTION.fullmatch(stripped):
            return Format.INI
        return Format.YAML if _YAML_START.match(stripped) else Format.INI
    return Format.INI
