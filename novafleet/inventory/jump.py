"""Jump hosts: each must be known, and no chain may come back to its start."""

from __future__ import annotations

import re
from collections.abc import Mapping

from novafleet.errors import ConfigError, Location
from novafleet.inventory import names
from novafleet.source.suggest import did_you_mean

_LITERAL = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<address>\[[^\]]+\]|[^:@\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


def check_hop(hop: str, hosts: Mapping[str, object], *, own: bool, where: Location) -> None:
    """A hop is an inventory host or ``[user@]host[:port]``; what Ansible's ProxyJump names may be any ssh host.

    Raises ConfigError NF-INV-012 and -004.
    """
    if hop in hosts:
        return
    match = _LITERAL.fullmatch(hop)
    if match is None:
        raise _error(f"{hop!r} is neither a host of this inventory nor user@host:port", where)
    if own and not match["user"] and not match["port"]:
        hints = (*did_you_mean(hop, hosts, "hosts"), f"for a host outside the inventory write user@{hop} or {hop}:22")
        raise _error(f"the jump host {hop!r} is not in the inventory", where, *hints)
    names.check_address(match["address"], where)
    if match["user"]:
        names.check_user(match["user"], where)
    if match["port"] and not 0 < int(match["port"]) < 65536:
        raise _error(f"{hop!r}: the port must be from 1 to 65535", where)


def check_cycles(jumps: Mapping[str, tuple[str, ...]], places: Mapping[str, Location]) -> None:
    """``jumps`` by host. Raises ConfigError NF-INV-012 naming the circle."""
    done: set[str] = set()
    for start in jumps:
        _walk(start, jumps, places, done)


def _walk(start: str, jumps: Mapping[str, tuple[str, ...]], places: Mapping[str, Location], done: set[str]) -> None:
    path: list[str] = []
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        host, leaving = stack.pop()
        if leaving:
            path.pop()
            done.add(host)
            continue
        if host in path:
            circle = " -> ".join([*path[path.index(host) :], host])
            raise _error(
                f"jump hosts go in a circle: {circle}", places[host], f"remove one of them, or set {host}: {{jump: []}}"
            )
        if host in done:
            continue
        path.append(host)
        stack.append((host, True))
        stack.extend((hop, False) for hop in jumps.get(host, ()) if hop in jumps)


def _error(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-INV-012", where=where, hints=hints)
