"""Small facts that stay true for a while and cost much to learn, by key, in one JSON file of this controller."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def read(path: Path) -> Mapping[str, str]:
    """What is remembered; an absent or damaged file remembers nothing."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file in one step (mode 0600). Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(values), file, indent=1, sort_keys=True)
    Path(temporary).replace(path)
