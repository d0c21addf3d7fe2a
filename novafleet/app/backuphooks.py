"""The scripts a backup policy or an option names, read before anything is begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from novafleet.capability.backup.hooks import Hook, Hooks
from novafleet.errors import ConfigError
from novafleet.model.policy import HookRules
from novafleet.ports import Clock

PLACES = ("guest_pre", "guest_post", "host_pre", "host_post")
MOST = 256 << 10
"""Bytes a script may have: it travels in one message to the guest's agent."""


def rules_of(words: Sequence[str], timeout: float, on_error: str) -> HookRules:
    """What ``--hook PLACE=PATH`` and its companions say. Raises ConfigError NF-CFG-005."""
    found: dict[str, str] = {}
    if on_error not in ("fail", "warn"):
        raise ConfigError(f"--hook-on-error takes fail or warn, not {on_error!r}", code="NF-CFG-005")
    for word in words:
        place, _, path = word.partition("=")
        if place not in PLACES or not path:
            hints = (f"PLACE is one of {', '.join(PLACES)}",)
            raise ConfigError(f"--hook takes PLACE=PATH, not {word!r}", code="NF-CFG-005", hints=hints)
        found[place] = str(Path(path).expanduser().absolute())
    return HookRules(**found, timeout=timeout, on_error=on_error)


def read_hooks(rules: HookRules) -> dict[str, Hook]:
    """The scripts by place. Raises ConfigError NF-BAK-071 for one that cannot be read or is too long."""
    return {place: _read(Path(path)) for place in PLACES if (path := getattr(rules, place))}


def _read(path: Path) -> Hook:
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as exc:
        what = "a backup hook cannot be read"
        raise ConfigError(what, code="NF-BAK-071", where=str(path), cause=exc.strerror or str(exc)) from exc
    if len(content) > MOST:
        raise ConfigError(f"a backup hook has more than {MOST >> 10} KiB", code="NF-BAK-071", where=str(path))
    return Hook(str(path), content)


def hooks_for(scripts: dict[str, Hook], rules: HookRules, clock: Clock) -> Hooks | None:
    """Those of one VM's backup, which remembers what went wrong."""
    return Hooks(clock, scripts, rules.timeout, strict=rules.on_error == "fail") if scripts else None
