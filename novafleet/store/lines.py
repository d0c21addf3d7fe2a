"""A file of this controller that only grows: one JSON document a line, mode 0600. A torn last line is left out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(path: Path, document: Mapping[str, Any]) -> None:
    """Add one. Lines of several processes do not mix: each is one write. Raises OSError."""
    line = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(path: Path) -> tuple[Mapping[str, Any], ...]:
    """All of them, oldest first; an absent file has none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return ()
    return tuple(found for line in lines if isinstance(found := _document(line), dict))


def _document(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
