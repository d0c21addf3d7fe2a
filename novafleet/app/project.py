"""``init``: copy the shipped folders of a fleet project."""

from __future__ import annotations

import shutil
from pathlib import Path

from novafleet import bundled
from novafleet.errors import ConfigError

FOLDERS = ("inventory", "playbooks", "templates", "collectors")
EXAMPLE = "pressure"
"""The one collector that is copied, to make one's own from: a copy takes the place of the shipped one."""


def scaffold(directory: Path) -> tuple[Path, ...]:
    """Make the four folders in ``directory``. Raises ConfigError NF-CFG-004 rather than overwrite anything, and where
    it cannot write."""
    for name in FOLDERS:
        if (directory / name).exists():
            raise ConfigError("is already there; nothing was copied", code="NF-CFG-004", where=str(directory / name))
    try:
        return _copied(directory)
    except OSError as exc:
        cause = exc.strerror or str(exc)
        raise ConfigError("cannot be made", code="NF-CFG-004", where=str(directory), cause=cause) from exc


def _copied(directory: Path) -> tuple[Path, ...]:
    directory.mkdir(parents=True, exist_ok=True)
    others = (each.name for each in bundled.folder("collectors").iterdir() if each.is_dir() and each.name != EXAMPLE)
    ignored = shutil.ignore_patterns("__pycache__", "fixtures", *others)
    return tuple(Path(shutil.copytree(bundled.folder(name), directory / name, ignore=ignored)) for name in FOLDERS)
