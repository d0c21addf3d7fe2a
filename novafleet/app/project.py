"""``init``: copy the shipped folders of a fleet project."""

from __future__ import annotations

import shutil
from pathlib import Path

from novafleet import bundled
from novafleet.errors import ConfigError

FOLDERS = ("inventory", "playbooks", "templates", "collectors")


def scaffold(directory: Path) -> tuple[Path, ...]:
    """Make the four folders in ``directory``. Raises ConfigError NF-CFG-004 rather than overwrite anything."""
    for name in FOLDERS:
        if (directory / name).exists():
            raise ConfigError("is already there; nothing was copied", code="NF-CFG-004", where=str(directory / name))
    directory.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "fixtures")
    return tuple(Path(shutil.copytree(bundled.folder(name), directory / name, ignore=ignored)) for name in FOLDERS)
