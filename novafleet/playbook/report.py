"""What is wrong with an environment file, as one raised error: each finding once, with the line it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.playbook.read import unresolved
from novafleet.source.excerpt import excerpt

_MISSING = "NF-CFG-022"


def refuse(errors: Iterable[ConfigError], texts: Mapping[str, str]) -> None:
    """Raise the one error, or all as ConfigErrors in file order; return when there are none.

    ``count``, ``defaults`` and YAML aliases make several entries of one place: its error is said once.
    """
    found = sorted(_once(errors), key=_order)
    for error in found:
        _illustrate(error, texts)
    if len(found) > 1:
        raise ConfigErrors(tuple(found))
    if found:
        raise found[0]


def _once(errors: Iterable[ConfigError]) -> Iterator[ConfigError]:
    everything = list(errors)
    hopeless = {str(error.where) for error in everything if unresolved(error)}
    seen: set[tuple[str, str, str]] = set()
    for error in everything:
        place = str(error.where)
        key = (place, error.code, error.what.rpartition(": ")[2] if error.code == _MISSING else "")
        if key in seen or (place in hopeless and not unresolved(error)):
            continue
        seen.add(key)
        yield error


def _order(error: ConfigError) -> tuple[str, int, int]:
    where = error.where
    return (where.file, where.line, where.column) if isinstance(where, Location) else (str(where), 0, 0)


def _illustrate(error: ConfigError, texts: Mapping[str, str]) -> None:
    where = error.where
    if not isinstance(where, Location) or " | " in error.cause:
        return
    shown = excerpt(texts.get(where.file, ""), where.line, where.column)
    error.cause = "\n".join(part for part in (error.cause, shown) if part)
