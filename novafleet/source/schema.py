"""A small declarative schema. The same description decodes a file and prints its reference page.

>>> HOST = Record("host", "A host.", (Field("port", Integer(1, 65535), default=22, doc="sshd's port."),), into=Host)
>>> HOST.decode(load(path), "hosts.kvm1")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from novafleet.errors import ConfigError
from novafleet.source.node import Node, kind_of
from novafleet.source.scalars import (
    Choice,
    Cidr,
    Duration,
    Flag,
    Integer,
    Ip,
    Mac,
    Name,
    Scalars,
    Sensitive,
    Size,
    Text,
    words,
)
from novafleet.source.shape import Findings, Shape, bad_value, wrong_type
from novafleet.source.suggest import did_you_mean

__all__ = [
    "REQUIRED", "Choice", "Cidr", "Duration", "Either", "Field", "Findings", "Flag", "Free", "Integer", "Ip", "List",
    "Mac", "MapOf", "Name", "OneOrMany", "Record", "Scalars", "Sensitive", "Shape", "Size", "Text", "bad_value",
    "wrong_type",
]  # fmt: skip

T = TypeVar("T")
REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a record. ``attribute`` is its name in Python where that differs from the key.

    ``default`` is what ``into`` receives when the key is absent; ``shown`` how the reference prints that.
    """

    name: str
    shape: Shape[Any]
    default: Any = REQUIRED
    doc: str = ""
    example: str = ""
    attribute: str = ""
    shown: str = ""

    @property
    def required(self) -> bool:
        """Must the key be there?"""
        return self.default is REQUIRED

    @property
    def target(self) -> str:
        """The keyword ``into`` receives it as."""
        return self.attribute or self.name


class Record(Shape[T]):
    """A mapping with known keys, decoded into ``into(**fields, source=Location, origins={key: Location})``.

    An empty value counts as an empty mapping. With ``extensions`` keys starting with ``x-`` are skipped.
    """

    def __init__(
        self, name: str, doc: str, fields: tuple[Field, ...], *, into: Callable[..., T], extensions: bool = False
    ) -> None:
        self.name, self.doc, self.fields = name, doc, fields
        self.label = f"a mapping ({name})"
        self._into = into
        self._extensions = extensions
        self._by_name = {field.name: field for field in fields}

    def decode(self, node: Node, path: str = "") -> T:
        members = _members(node, path, self.label)
        findings = Findings()
        for key in members:
            self._check_key(node, path, key, findings)
        values: dict[str, Any] = {}
        for field in self.fields:
            if field.name in members:
                child, where = members[field.name], _join(path, field.name)
                for value in findings.attempt(lambda f=field, c=child, w=where: f.shape.decode(c, w)):  # type: ignore[misc]
                    values[field.target] = value
            elif field.required:
                findings.note(self._missing(node, path, field))
            else:
                values[field.target] = field.default
        findings.check()
        return self._into(**values, source=node.location, origins=dict(node.key_locations))

    def _check_key(self, node: Node, path: str, key: str, findings: Findings) -> None:
        if key in self._by_name or (self._extensions and key.startswith("x-")):
            return
        place = f"{path}: " if path else ""
        findings.note(
            ConfigError(
                f"{place}unknown key {key!r}",
                code="NF-CFG-020",
                where=node.key_location(key),
                hints=did_you_mean(key, self._by_name, "keys"),
            )
        )

    def _missing(self, node: Node, path: str, field: Field) -> ConfigError:
        place = f"{path}: " if path else ""
        example = field.example or f"… ({field.shape.label})"
        return ConfigError(
            f"{place}the key {field.name!r} is missing",
            code="NF-CFG-022",
            where=node.location,
            hints=(f"add {field.name}: {example}",),
        )

    def shapes(self) -> Iterable[Shape[object]]:
        return [field.shape for field in self.fields]


class List(Shape[tuple[T, ...]]):
    """A list of one shape."""

    def __init__(self, of: Shape[T], *, least: int = 0) -> None:
        self.of, self._least = of, least
        self.label = f"a list, each {of.label}"

    def decode(self, node: Node, path: str = "") -> tuple[T, ...]:
        if not isinstance(node.value, tuple):
            raise wrong_type(node, path, self.label)
        if len(node.value) < self._least:
            raise bad_value(node, path, f"needs at least {self._least}, has {len(node.value)}")
        return _each(self.of, node.value, path)

    def shapes(self) -> Iterable[Shape[object]]:
        return (self.of,)


class OneOrMany(Shape[tuple[T, ...]]):
    """A list, or a single value standing for a list of one."""

    def __init__(self, of: Shape[T]) -> None:
        self.of = of
        self.label = f"{of.label}, or a list of them"

    def decode(self, node: Node, path: str = "") -> tuple[T, ...]:
        if isinstance(node.value, tuple):
            return _each(self.of, node.value, path)
        return (self.of.decode(node, path),)

    def shapes(self) -> Iterable[Shape[object]]:
        return (self.of,)


class MapOf(Shape[Mapping[str, T]]):
    """A mapping from names people choose (of shape ``key``) to one shape, in file order."""

    def __init__(self, of: Shape[T], *, key: Shape[str] | None = None) -> None:
        self.of = of
        self.key: Shape[str] = key or Name()
        self.label = f"a mapping from names to {of.label}"

    def decode(self, node: Node, path: str = "") -> dict[str, T]:
        findings = Findings()
        result = self.collect(node, path, findings)
        findings.check()
        return result

    def collect(self, node: Node, path: str, findings: Findings) -> dict[str, T]:
        """The members that can be decoded; errors of the others are noted. Raises ConfigError for no mapping."""
        result: dict[str, T] = {}
        for key, child in _members(node, path, self.label).items():
            name = Node(key, node.key_location(key))
            where = _join(path, key)
            if not findings.attempt(lambda n=name: self.key.decode(n, path)):  # type: ignore[misc]
                continue
            for value in findings.attempt(lambda c=child, w=where: self.of.decode(c, w)):  # type: ignore[misc]
                result[key] = value
        return result

    def shapes(self) -> Iterable[Shape[object]]:
        return (self.of,)


class Either(Shape[T]):
    """One of several shapes, chosen by what is there: text, number, flag, nothing, list or mapping."""

    def __init__(self, **by_kind: Shape[T]) -> None:
        self.by_kind = by_kind
        self.label = words(shape.label for shape in by_kind.values())

    def decode(self, node: Node, path: str = "") -> T:
        shape = self.by_kind.get(kind_of(node))
        if shape is None:
            raise wrong_type(node, path, self.label)
        return shape.decode(node, path)

    def shapes(self) -> Iterable[Shape[object]]:
        return tuple(self.by_kind.values())


class Free(Shape[Node]):
    """A mapping whose content is the user's own business; kept as nodes."""

    label = "a mapping of anything"

    def decode(self, node: Node, path: str = "") -> Node:
        if not isinstance(node.value, Mapping):
            raise wrong_type(node, path, self.label)
        return node


def _members(node: Node, path: str, expected: str) -> Mapping[str, Node]:
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        raise wrong_type(node, path, expected)
    return node.value


def _each(of: Shape[T], nodes: tuple[Node, ...], path: str) -> tuple[T, ...]:
    findings = Findings()
    result: list[T] = []
    for index, child in enumerate(nodes):
        result.extend(findings.attempt(lambda c=child, i=index: of.decode(c, f"{path}[{i}]")))  # type: ignore[misc]
    findings.check()
    return tuple(result)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
