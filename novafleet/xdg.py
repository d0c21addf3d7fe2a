"""The user's folders, by the XDG Base Directory Specification 0.8."""

from __future__ import annotations

import os
from pathlib import Path

from novafleet.errors import ConfigError


def state() -> Path:
    """``~/.local/state/novafleet`` (``XDG_STATE_HOME``). Raises ConfigError NF-RUN-016, as the others do."""
    return _folder("XDG_STATE_HOME", ".local/state") / "novafleet"


def config() -> Path:
    """``~/.config`` (``XDG_CONFIG_HOME``)."""
    return _folder("XDG_CONFIG_HOME", ".config")


def cache() -> Path:
    """``~/.cache/novafleet`` (``XDG_CACHE_HOME``)."""
    return _folder("XDG_CACHE_HOME", ".cache") / "novafleet"


def _folder(variable: str, beside: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():  # "relative paths are invalid and are to be ignored"
        return named
    try:
        return Path.home() / beside
    except RuntimeError as error:
        raise ConfigError(
            "this user has no home directory",
            code="NF-RUN-016",
            cause=str(error),
            hints=(f"{variable}=DIR novafleet …   # or set HOME",),
        ) from error
