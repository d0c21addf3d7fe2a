"""``depends_on``: Compose's short list and its long form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from novafleet.errors import Location
from novafleet.model.environment import Condition
from novafleet.playbook.spec import Origins, Wanted
from novafleet.source.node import Node
from novafleet.source.schema import Choice, Field, List, MapOf, OneOrMany, Record, Shape, Text

TARGET = Text(r"((vm|stack)\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?", "the name of a VM or stack")


def _condition(condition: str, source: Location, origins: Origins) -> str:  # noqa: ARG001 - every record passes them
    return condition


CONDITION = Record(
    "dependency",
    "When a dependency is met.",
    (
        Field(
            "condition",
            Choice(*Condition),
            "",
            "`service_started`: it runs; `service_healthy`: all its gates have seen their evidence; "
            "`service_completed_successfully`: it ended by itself, without error.",
            "service_healthy",
            shown="`service_healthy` if the target has `ready`, else `service_started`",
        ),
    ),
    into=_condition,
)


class DependsOn(Shape[tuple[Wanted, ...]]):
    """Names, or a mapping from names to conditions."""

    label = "a name, a list of names, or a mapping from names to conditions"

    def decode(self, node: Node, path: str = "") -> tuple[Wanted, ...]:
        if isinstance(node.value, Mapping):
            conditions = MapOf(CONDITION, key=TARGET).decode(node, path)
            return tuple(Wanted(name, word, node.key_location(name)) for name, word in conditions.items())
        names = (OneOrMany(TARGET) if isinstance(node.value, str) else List(TARGET)).decode(node, path)
        places = node.items or (node,)
        return tuple(Wanted(name, "", place.location) for name, place in zip(names, places, strict=False))

    def shapes(self) -> Iterable[Shape[object]]:
        return (CONDITION,)
