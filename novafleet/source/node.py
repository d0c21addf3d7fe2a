"""A YAML value that knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from novafleet.errors import Location
from novafleet.model.secret import Secret

Scalar = str | int | float | bool | None
Value = Scalar | Secret | tuple["Node", ...] | Mapping[str, "Node"]


class Vaulted(str):
    """A value that ansible-vault encrypted: it is there, and nobody here knows it."""

    __slots__ = ()

    def __new__(cls) -> Vaulted:
        return super().__new__(cls, "(encrypted by ansible-vault)")


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a tuple of nodes or a mapping of nodes. ``key_locations`` says where each key of a mapping stands.

    Reading never makes a ``Secret``; substituting ``${env:NAME}`` does. ``Vaulted`` is what Ansible's readers make.
    """

    value: Value
    location: Location
    key_locations: Mapping[str, Location] = field(default_factory=dict)

    def plain(self) -> Any:
        """The same value as ordinary ``dict``, ``list`` and scalars."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, Mapping):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    @property
    def items(self) -> tuple[Node, ...]:
        """The members of a list; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def fields(self) -> Mapping[str, Node]:
        """The members of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    def key_location(self, key: str) -> Location:
        """Where a key was written; the mapping's own place when it was not."""
        return self.key_locations.get(key, self.location)

    def with_value(self, value: Value) -> Node:
        """Another value in the same place."""
        return Node(value, self.location, self.key_locations)


def kind_of(node: Node) -> str:
    """``text``, ``number``, ``flag``, ``nothing``, ``secret``, ``list`` or ``mapping``."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "flag"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Secret():
            return "secret"
        case tuple():
            return "list"
        case _:
            return "mapping"


def describe(node: Node) -> str:
    """What a person would call it: ``the text 'no'``, ``the number 5``, ``a list``."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return f"the flag {str(node.value).lower()}"
        case int() | float():
            return f"the number {node.value}"
        case str() as text:
            shown = text if len(text) <= 60 else text[:57] + "..."
            return f"the text {shown!r}"
        case Secret():
            return "a secret"
        case tuple():
            return "a list"
        case _:
            return "a mapping"
