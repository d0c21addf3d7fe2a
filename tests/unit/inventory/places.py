"""Where the inventory suites keep their files, and a short way to write new ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from novafleet.errors import ConfigError, ConfigErrors
from novafleet.inventory import load_fleet
from novafleet.model.fleet import Fleet

CONTENT = Path(__file__).parents[2] / "content" / "inventory"


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below ``root``; those that begin with ``#!`` may be run."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)
    return root


def fleet(root: Path, text: str, name: str = "hosts.yml") -> Fleet:
    """The fleet of one file."""
    return load_fleet([write(root, {name: text}) / name])


def findings(error: ConfigError) -> tuple[ConfigError, ...]:
    """Every finding of an error."""
    return error.errors if isinstance(error, ConfigErrors) else (error,)
