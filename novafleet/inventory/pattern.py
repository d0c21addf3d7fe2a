"""Host patterns, Ansible's: ``web:&prod:!kvm3``, ``db*``, ``~kvm\\d+``, ``web[0:2]``, ``all``.

What Ansible passes over with a warning is an error here: a name that is neither host nor group, and a pattern that
leaves no host.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from novafleet.errors import ConfigError
from novafleet.inventory import names, ranges
from novafleet.model.fleet import Fleet, Host
from novafleet.source.suggest import did_you_mean

_SEPARATOR = re.compile(r":(?![^\[]*\])")
_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]{1,9})|([0-9]{1,9})[:-]([0-9]{0,9}))\]")
_GLOB = re.compile(r"[*?\[]")
MAX = 100_000
"""Characters of a pattern: a range of hosts folded by hand is far shorter."""


def select(fleet: Fleet, pattern: str, limit: str = "") -> tuple[Host, ...]:
    """The hosts of a pattern in its order, those of ``limit`` only. Raises ConfigError NF-INV-016."""
    chosen = matching(fleet, pattern)
    allowed = frozenset(matching(fleet, limit)) if limit.strip() else frozenset(chosen)
    hosts = tuple(fleet.hosts[name] for name in chosen if name in allowed)
    if not hosts:
        shown = f"{pattern!r} limited to {limit!r}" if limit.strip() else repr(pattern)
        raise ConfigError(
            f"no host matches {shown}", code="NF-INV-016", hints=("novafleet host ls shows hosts and groups",)
        )
    return hosts


def matching(fleet: Fleet, pattern: str) -> tuple[str, ...]:
    """Names of the hosts a pattern stands for, possibly none: first all plain parts together, then each ``&``, then
    each ``!``, wherever they stand. Raises ConfigError NF-INV-016 for an unknown name or a part that is no pattern."""
    parts = _split(pattern)
    plain = [part for part in parts if part[0] not in "&!"] or ["all"]
    chosen = dict.fromkeys(name for part in plain for name in _part(fleet, part, pattern))
    for sign in "&!":
        for part in parts:
            if part[0] == sign:
                found = frozenset(_part(fleet, part[1:], pattern))
                chosen = {name: None for name in chosen if (name in found) == (sign == "&")}
    return tuple(chosen)


def _split(pattern: str) -> list[str]:
    """At commas if there is one, else at colons outside brackets; an IPv6 address stays whole."""
    if len(pattern) > MAX:
        raise _error(pattern[:80], f"it has {len(pattern)} characters, {MAX} are allowed")
    if "," in pattern:
        return [part for piece in pattern.split(",") for part in _split(piece)]
    bare = pattern.strip().lstrip("&!")
    if bare and (names.is_ipv6(bare) or names.bare_ipv6(bare)):
        return [pattern.strip()]
    return [part.strip() for part in _SEPARATOR.split(pattern) if part.strip()]


def _part(fleet: Fleet, part: str, pattern: str) -> Sequence[str]:
    part = names.bare_ipv6(part) or part
    if not part:
        raise _error(pattern, "a name is missing after & or !")
    found = _named(fleet, part)
    if found is not None:
        return found
    if part.startswith("~"):
        return _matches(fleet, _regex(part[1:], pattern))
    subscript = _SUBSCRIPT.fullmatch(part)
    if subscript:
        base = _base(fleet, subscript[1])
        if base is not None:
            return _indexed(base, subscript)
    if ranges.is_range(part) and ":" in part:
        return [name for each in ranges.expand(part) for name in _known(fleet, each, pattern)]
    if _GLOB.search(part):
        return _matches(fleet, re.compile(fnmatch.translate(part)).match)
    return _known(fleet, part, pattern)


def _base(fleet: Fleet, text: str) -> Sequence[str] | None:
    """What an index counts in: a group or a glob; None when the brackets are a range of hosts."""
    if _GLOB.search(text) and "]" not in text:
        return _matches(fleet, re.compile(fnmatch.translate(text)).match)
    return _named(fleet, text)


def _named(fleet: Fleet, name: str) -> Sequence[str] | None:
    if name in fleet.groups:
        return fleet.groups[name].hosts
    return (name,) if name in fleet.hosts else None


def _known(fleet: Fleet, name: str, pattern: str) -> Sequence[str]:
    found = _named(fleet, name)
    if found is not None:
        return found
    hints = did_you_mean(name, _both(fleet), "hosts and groups")
    raise ConfigError(
        f"{name!r} is neither a host nor a group" + (f" (in {pattern!r})" if name != pattern else ""),
        code="NF-INV-016",
        hints=hints,
    )


def _both(fleet: Fleet) -> Mapping[str, object]:
    return {**fleet.hosts, **fleet.groups}


def _matches(fleet: Fleet, match: Callable[[str], object]) -> Sequence[str]:
    """Hosts of the groups that match, then the hosts that match themselves."""

    def found() -> Iterator[str]:
        for group in fleet.groups.values():
            if match(group.name):
                yield from group.hosts
        yield from (name for name in fleet.hosts if match(name))

    return tuple(dict.fromkeys(found()))


def _regex(text: str, pattern: str) -> Callable[[str], object]:
    try:
        return re.compile(text).match
    except re.error as exc:
        raise _error(pattern, f"the regular expression {text!r} is wrong: {exc}") from exc


def _indexed(hosts: Sequence[str], subscript: re.Match[str]) -> Sequence[str]:
    """``[2]``, ``[-1]``, ``[0:2]`` with both ends, ``[1:]``."""
    _, index, first, last = subscript.groups()
    if index is not None:
        place = int(index)
        return hosts[place : place + 1 or None]
    return hosts[int(first) : int(last) + 1 if last else None]


def _error(pattern: str, why: str) -> ConfigError:
    return ConfigError(f"{pattern!r} is not a host pattern: {why}", code="NF-INV-016")
