"""The host keys of Ansible inventories: a name or range with an optional port."""

from __future__ import annotations

import re
from dataclasses import dataclass

from novafleet.errors import ConfigError, Location
from novafleet.inventory import names, ranges

_BRACKETED = re.compile(r"\[(.+)\]:([0-9]{1,9})")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class HostPattern:
    """The hosts a key stands for; ``port`` 0 when it names none."""

    hosts: tuple[str, ...]
    port: int = 0


def parse(text: str, where: Location) -> HostPattern:
    """``web[01:20].lan:2222``, ``[2001:db8::1]:22``, ``2001:db8::1``. Raises ConfigError NF-INV-004, -005, -009."""
    bare = names.bare_ipv6(text) or (text if names.is_ipv6(text) else "")
    if bare:
        return HostPattern((bare,))
    match = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    port = int(match[2]) if match else 0
    if match and not 0 < port < 65536:
        raise ConfigError(f"{text!r}: the port must be from 1 to 65535", code="NF-INV-009", where=where)
    expanded = (match[1],) if match and names.is_ipv6(match[1]) else ranges.expand(match[1] if match else text, where)
    return HostPattern(tuple(names.check_host(name, where) for name in expanded), port)
