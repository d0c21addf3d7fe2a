"""What a host, group, address or user may be called: nothing a shell, a path or a terminal would act upon."""

from __future__ import annotations

import ipaddress
import re

from novafleet.errors import ConfigError, Location

_HOST = re.compile(r"\w[\w.:%+-]*")
_GROUP = re.compile(r"\w[\w.+-]*")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[\w.-]+)?")
_USER = re.compile(r"\w[\w.@\\+-]*\$?")
_MAX = 253
"""RFC 1035: the length of a domain name."""


def check_host(name: str, where: Location) -> str:
    """The name itself. Raises ConfigError NF-INV-004."""
    return _check(name, "a host name", _HOST, where)


def check_group(name: str, where: Location) -> str:
    """The name itself. Raises ConfigError NF-INV-004."""
    return _check(name, "a group name", _GROUP, where)


def check_user(name: str, where: Location) -> str:
    """A login name, also ``DOMAIN\\user`` and ``user@realm``. Raises ConfigError NF-INV-004."""
    return _check(name, "a user name", _USER, where)


def check_address(address: str, where: Location) -> str:
    """A host name or IP address without port; brackets around IPv6 are dropped. Raises ConfigError NF-INV-004."""
    bare = bare_ipv6(address) or address
    if is_ipv6(bare):
        return bare
    _check(bare, "an address", _HOST, where)
    if ":" in bare:
        host, _, port = bare.rpartition(":")
        hints = (f"write address: {host} and port: {port}",) if port.isdigit() else ()
        raise ConfigError(f"{address!r} is not an address", code="NF-INV-004", where=where, hints=hints)
    return bare


def is_ipv6(text: str) -> bool:
    """Is it an IPv6 address, with or without a zone (``fe80::1%eth0``)?"""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return _IPV6.fullmatch(text) is not None and len(text) <= _MAX


def bare_ipv6(text: str) -> str:
    """``2001:db8::1`` for ``[2001:db8::1]``; "" when it is no bracketed IPv6 address."""
    if text.startswith("[") and text.endswith("]") and is_ipv6(text[1:-1]):
        return text[1:-1]
    return ""


def _check(name: str, what: str, allowed: re.Pattern[str], where: Location) -> str:
    if allowed.fullmatch(name) and len(name) <= _MAX:
        return name
    raise ConfigError(
        f"{name[:80]!r} cannot be {what}: {_problem(name, allowed)}",
        code="NF-INV-004",
        where=where,
        hints=("letters, digits, '.', '_' and '-' are allowed, the first must be a letter or digit",),
    )


def _problem(name: str, allowed: re.Pattern[str]) -> str:
    if not name:
        return "it is empty"
    if len(name) > _MAX:
        return f"it has {len(name)} characters, {_MAX} are allowed"
    bad = next((char for char in name if not allowed.fullmatch(f"a{char}a")), "")
    if bad:
        return f"the character {bad!r} is not allowed"
    return f"it starts with {name[0]!r}"
