"""Shapes of single values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from novafleet.model.secret import Secret
from novafleet.source.node import Node
from novafleet.source.shape import Shape, bad_value, wrong_type
from novafleet.source.suggest import did_you_mean


class Text(Shape[str]):
    """Text, optionally of a pattern; ``what`` describes that pattern to people."""

    def __init__(self, pattern: str = "", what: str = "text", *, empty: bool = True) -> None:
        self.label = what
        self._pattern = re.compile(pattern) if pattern else None
        self._empty = empty

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, self.label)
        if not text and not self._empty:
            raise bad_value(node, path, "must not be empty")
        if self._pattern and not self._pattern.fullmatch(text):
            raise bad_value(node, path, f"{text!r} is not {self.label}")
        return text


class Flag(Shape[bool]):
    """``true`` or ``false``; YAML 1.1's ``yes``, ``no``, ``on`` and ``off`` are refused with a hint."""

    label = "true or false"

    def decode(self, node: Node, path: str = "") -> bool:
        if isinstance(node.value, bool):
            return node.value
        word = str(node.value).lower()
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(word, "")
        raise wrong_type(node, path, self.label, *((f"write {meant}",) if meant else ()))


class Integer(Shape[int]):
    """A whole number within bounds, both included."""

    def __init__(self, least: int = 0, most: int = 2**63 - 1) -> None:
        self.label = f"a whole number from {least}" + (f" to {most}" if most < 2**63 - 1 else "")
        self._least, self._most = least, most

    def decode(self, node: Node, path: str = "") -> int:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(node, path, self.label)
        if not self._least <= value <= self._most:
            raise bad_value(node, path, f"{value} is not {self.label}")
        return value


_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,6}))?\s*([kmgtp]?)(i?)(b?)", re.IGNORECASE)


class Size(Shape[int]):
    """Bytes: ``512M``, ``512MiB`` and ``1.5GiB`` are powers of 1024. A number without a unit, or ``MB``, is refused."""

    label = "a size such as 512MiB or 2GiB"

    def __init__(self, least: int = 1, most: int = 2**63 - 1, *, step: int = 1) -> None:
        self._least, self._most, self._step = least, most, step

    def decode(self, node: Node, path: str = "") -> int:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            raise wrong_type(
                node, path, self.label, f"write the unit: {node.value}MiB, {node.value}GiB or {node.value}B"
            )
        text = _text(node, path, self.label)
        match = _SIZE.fullmatch(text.strip())
        if not match:
            raise bad_value(node, path, f"{text!r} is not {self.label}")
        whole, fraction, unit, binary, byte = match.groups()
        if not unit and (binary or not byte):
            raise bad_value(node, path, f"{text!r} is not {self.label}", f"write the unit: {whole}MiB or {whole}B")
        if unit and byte and not binary:
            raise bad_value(node, path, f"{text!r} could be 1000s or 1024s", f"write {whole}{unit.upper()}iB")
        return self._bytes(node, path, whole + (fraction or ""), len(fraction or ""), _UNITS[unit.lower()])

    def _bytes(self, node: Node, path: str, digits: str, places: int, power: int) -> int:
        value, rest = divmod(int(digits) * int(1024**power), int(10**places))
        if rest:
            raise bad_value(node, path, f"{node.value!r} is not a whole number of bytes")
        if not self._least <= value <= self._most:
            raise bad_value(node, path, f"{node.value!r} is not from {size(self._least)} to {size(self._most)}")
        if value % self._step:
            raise bad_value(node, path, f"{node.value!r} is not a multiple of {size(self._step)}")
        return value


def size(value: int) -> str:
    """Bytes in the largest unit that leaves a whole number: ``2GiB``, ``1536MiB``, ``700B``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = next((power for power in range(5, 0, -1) if value and value % 1024**power == 0), 0)
    return f"{value // 1024**power}{units[power]}" if value != 2**63 - 1 else "8EiB"


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+(?:\.[0-9]+)?)s)?(?:([0-9]+)ms)?")


class Duration(Shape[float]):
    """Seconds: ``90``, ``500ms``, ``2m``, ``1m30s``, ``1h``."""

    label = "a duration such as 30s, 500ms or 1m30s"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def decode(self, node: Node, path: str = "") -> float:
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._bounded(node, path, float(value))
        text = _text(node, path, self.label).strip()
        match = _DURATION.fullmatch(text)
        if not text or not match or len(text) > 40:
            raise bad_value(node, path, f"{text!r} is not {self.label}")
        parts = zip(match.groups(), ("d", "h", "m", "s", "ms"), strict=True)
        return self._bounded(node, path, sum(float(part) * _SECONDS[unit] for part, unit in parts if part))

    def _bounded(self, node: Node, path: str, seconds: float) -> float:
        if not self._least <= seconds <= 366 * 86400:
            raise bad_value(node, path, f"{node.value!r} is not between {self._least:g}s and a year")
        return seconds


class Choice(Shape[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = tuple(map(str, words))  # of an enumeration's too
        self.label = " | ".join(words)

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, f"one of {self.label}")
        if text not in self.words:
            hints = did_you_mean(text, self.words, "values")
            raise bad_value(node, path, f"{text!r} is not one of {self.label}", *hints)
        return text


NAME_MAX = 63


class Name(Shape[str]):
    """A DNS label (RFC 1123). It becomes a domain, file and host name: nothing a shell or path minds may be in it."""

    label = "a name of a-z, 0-9 and '-'"

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, self.label)
        problem = name_problem(text)
        if problem:
            raise bad_value(node, path, f"{text!r} cannot be a name: {problem}", *_name_hint(text))
        return text


def name_problem(text: str) -> str:
    """Why ``text`` is no name; "" when it is one."""
    if not text:
        return "it is empty"
    if len(text) > NAME_MAX:
        return f"it has {len(text)} characters, {NAME_MAX} are allowed"
    bad = next((c for c in text if not (c.isascii() and (c.islower() or c.isdigit() or c == "-"))), "")
    if bad:
        reason = "capitals are" if bad.isascii() and bad.isupper() else f"{bad!r} is"
        return f"{reason} not allowed, only a-z, 0-9 and '-'"
    if text[0] == "-" or text[-1] == "-":
        return "it must start and end with a letter or digit"
    return ""


def _name_hint(text: str) -> tuple[str, ...]:
    candidate = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:NAME_MAX].strip("-")
    return (f"for example {candidate!r}",) if candidate else ()


class Ip(Shape[str]):
    """An IPv4 address."""

    label = "an IPv4 address such as 10.20.0.10"

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, self.label)
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError as exc:
            raise bad_value(node, path, f"{text!r} is not {self.label}") from exc


class Cidr(Shape[str]):
    """An IPv4 subnet; host bits must be zero."""

    label = "an IPv4 subnet such as 10.20.0.0/24"

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, self.label)
        if "/" not in text:
            raise bad_value(node, path, f"{text!r} is not {self.label}", f"write {text}/24")
        try:
            interface = ipaddress.IPv4Interface(text)
        except ValueError as exc:
            raise bad_value(node, path, f"{text!r} is not {self.label}") from exc
        network = interface.network
        if interface.ip != network.network_address:
            raise bad_value(node, path, f"{text!r} has bits set beyond its mask", f"write {network}")
        return str(network)


class Mac(Shape[str]):
    """A unicast MAC address, returned in lower case."""

    label = "a MAC address such as 52:54:00:12:34:56"

    def decode(self, node: Node, path: str = "") -> str:
        text = _text(node, path, self.label).lower()
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text):
            raise bad_value(node, path, f"{text!r} is not {self.label}")
        if int(text[:2], 16) & 1:
            raise bad_value(
                node, path, f"{text!r} is a multicast address", "the first byte must be even, 52:54:00:… is usual"
            )
        return text


class Scalars(Shape[str | int | float | bool | None]):
    """Any single value."""

    label = "text, a number, true, false or null"

    def decode(self, node: Node, path: str = "") -> str | int | float | bool | None:
        if isinstance(node.value, str | int | float) or node.value is None:
            return node.value
        raise wrong_type(node, path, self.label)


class Sensitive(Shape[str | int | float | bool | Secret | None]):
    """Any single value, which may be a secret."""

    label = "text, a number, true, false, null or a secret"

    def decode(self, node: Node, path: str = "") -> str | int | float | bool | Secret | None:
        return node.value if isinstance(node.value, Secret) else Scalars().decode(node, path)


def _text(node: Node, path: str, expected: str) -> str:
    if isinstance(node.value, str):
        return node.value
    quotable = isinstance(node.value, bool | int | float)
    shown = str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
    raise wrong_type(
        node, path, expected, *((f'write "{shown}" in quotes',) if quotable and "text" in expected else ())
    )


def words(values: Iterable[str]) -> str:
    """``a, b or c``."""
    items = list(values)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"
