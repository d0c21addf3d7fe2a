"""What is wrong with an environment file, as one raised error: each finding once, with the line it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.playbook.read import unresolved
from novafleet.source.excerpt import illustrate

_MISSING = "NF-CFG-022"


def refuse(errors: Iterable[ConfigError], texts: Mapping[str, str]) -> None:
    """Raise the one error, or all as ConfigErrors in file order; return when there are none.

    ``count``, ``defaults`` and YAML aliases make several entries of one place: its error is said once.
    """
    found = sorted(_once(errors), key=_order)
    for error in found:
        illustrate(error, texts)
    if len(found) > 1:
        raise ConfigErrors(tuple(found))
    if found:
        raise found[0]


def _once(errors: Iterable[ConfigError]) -> Iterator[ConfigError]:
    everything = list(errors)
    hopeless = {_line(error) for error in everything if unresolved(error)}
    seen: set[tuple[str, str, str]] = set()
    for error in everything:
        key = (str(error.where), error.code, error.what.rpartition(": ")[2] if error.code == _MISSING else "")
        if key in seen or (_line(error) in hopeless and not unresolved(error)):
            continue
        seen.add(key)
        yield error


def _order(error: ConfigError) -> tuple[str, int, int]:
    where = error.where
    return (where.file, where.line, where.column) if isinstance(where, Location) else (str(where), 0, 0)


def _line(error: ConfigError) -> tuple[str, int]:
    return _order(error)[:2]
