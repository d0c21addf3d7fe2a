"""YAML text to ``Node``: every value with file, line and column; strict where YAML is treacherous.

Works on PyYAML's event stream (libyaml's parser where PyYAML has it), so that depth, size and alias
expansion are bounded while reading and not after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from novafleet.errors import ConfigError, Location
from novafleet.source.compose import MAX_NODES, Composer
from novafleet.source.excerpt import excerpt
from novafleet.source.node import Node, Scalar
from novafleet.source.scalar import resolve

__all__ = ["MAX_BYTES", "Node", "check_yaml", "decoded", "load", "parse", "read_text"]

MAX_BYTES = 4 * 1024 * 1024
"""A file larger than this was not written by a person."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: Path) -> Node:
    """The single document of a file; a null node when it is empty. Raises ConfigError (NF-CFG-002, -003, -01x)."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The UTF-8 text of a file of at most ``MAX_BYTES``. Raises ConfigError NF-CFG-002."""
    where = Location(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(
            f"cannot read {path}",
            code="NF-CFG-002",
            where=where,
            cause=exc.strerror or str(exc),
            hints=(f"ls -l {path}",),
        ) from exc
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 2**20} MiB", code="NF-CFG-002", where=where)
    return decoded(data, str(path))


def decoded(data: bytes, file: str) -> str:
    """The text of a file. Raises ConfigError NF-CFG-002 unless it is UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            f"{file} is not UTF-8 text",
            code="NF-CFG-002",
            where=Location(file, line),
            cause=f"byte 0x{data[exc.start]:02x} at offset {exc.start}",
            hints=(f"iconv -f latin1 -t utf-8 {file}",),
        ) from exc


def parse(
    text: str, file: str, *, scalar: Callable[[str], Scalar] = resolve, most: int = MAX_NODES, loose: bool = False
) -> Node:
    """The single document in ``text``; ``file`` names it in locations and errors.

    ``scalar`` says what a plain scalar means (YAML 1.2 by default), ``most`` how many values a file may hold. With
    ``loose`` every scalar may be a key, as it is written, Ansible's ``!unsafe`` is passed over, and what has its
    ``!vault`` is ``Vaulted``.
    """
    try:
        return Composer(_events(text), text, file, scalar=scalar, most=most, loose=loose).document()
    except yaml.YAMLError as exc:
        raise _syntax_error(exc, text, file) from exc


def check_yaml(text: str, file: str) -> None:
    """Raise ConfigError NF-CFG-003 unless ``text`` is well-formed YAML; any tags, keys and number of documents."""
    try:
        for _ in _events(text):
            pass
    except yaml.YAMLError as exc:
        raise _syntax_error(exc, text, file) from exc


def _events(text: str) -> Iterator[Any]:
    return iter(yaml.parse(text, Loader=_LOADER))


def _syntax_error(exc: yaml.YAMLError, text: str, file: str) -> ConfigError:
    line, column = _position(exc, text)
    problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or str(exc)
    shown = excerpt(text, line, column)
    lines = text.splitlines()
    indent = lines[line - 1][: column or 1] if 0 < line <= len(lines) else ""
    hints = ("indent with spaces: YAML allows no tabs there",) if "\t" in indent else ()
    if "that cannot start any token" in problem and not hints:
        hints = ("put the value in quotes",)
    return ConfigError(
        "this is not valid YAML",
        code="NF-CFG-003",
        where=Location(file, line, column),
        cause=f"{problem}\n{shown}" if shown else problem,
        hints=hints,
    )


def _position(exc: yaml.YAMLError, text: str) -> tuple[int, int]:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    if mark is not None:
        return mark.line + 1, mark.column + 1
    offset = getattr(exc, "position", None)
    if not isinstance(offset, int):
        return 0, 0
    before = text.encode()[:offset].decode(errors="replace")
    return before.count("\n") + 1, len(before) - before.rfind("\n")
