"""Jump hosts: each must be known, and no chain may come back to its start."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

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


def check_cycles(jumps: Mapping[str, Collection[str]], places: Mapping[str, Location]) -> Iterator[ConfigError]:
    """NF-INV-012 for each circle; ``jumps`` names the hosts before each host, ``places`` says where."""
    before = {host: [hop for hop in hops if hop in jumps] for host, hops in jumps.items()}
    while True:
        try:
            TopologicalSorter(before).prepare()
        except CycleError as exc:
            circle: list[str] = exc.args[1][::-1]
            before[circle[0]].remove(circle[1])
            shown = " -> ".join(circle)
            hint = f"remove one of them, or set {circle[0]}: {{jump: []}}"
            yield _error(f"jump hosts go in a circle: {shown}", places[circle[0]], hint)
        else:
            return


def _error(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-INV-012", where=where, hints=hints)
