"""Putting mappings of nodes over one another."""

from __future__ import annotations

from collections.abc import Mapping

from novafleet.errors import ConfigError, Location
from novafleet.source.node import Node


def over(upper: Node, lower: Node) -> Node:
    """``upper`` with what only ``lower`` has; mappings are merged key by key, anything else is ``upper``'s."""
    if not isinstance(upper.value, Mapping) or not isinstance(lower.value, Mapping):
        return upper
    fields = dict(upper.value)
    keys = dict(upper.key_locations)
    for key, node in lower.value.items():
        if key in fields:
            fields[key] = over(fields[key], node)
        else:
            fields[key], keys[key] = node, lower.key_location(key)
    return Node(fields, upper.location, keys)


def union(section: str, first: Node, second: Node) -> Node:
    """Two sections whose names must not overlap. Raises ConfigError NF-CFG-014 naming both places."""
    for name in second.fields:
        if name in first.fields:
            raise defined_twice(section, name, second.key_location(name), first.key_location(name))
    return over(second, first)


def defined_twice(what: str, name: str, where: Location, other: Location) -> ConfigError:
    """NF-CFG-014."""
    return ConfigError(
        f"{what}: {name!r} is already defined at {other}",
        code="NF-CFG-014",
        where=where,
        hints=("rename one of the two, or remove it",),
    )
