"""From YAML events to nodes, refusing duplicate keys, foreign tags, non-text keys and bombs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from novafleet.errors import ConfigError, Location
from novafleet.source.excerpt import excerpt
from novafleet.source.node import Node, Scalar, Vaulted, describe
from novafleet.source.scalar import resolve

MAX_NODES = 100_000
"""Values in a file, aliases counted as often as they are used."""
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {"str": yaml.ScalarEvent, "seq": yaml.SequenceStartEvent, "map": yaml.MappingStartEvent}
_MERGE = "<<"
VAULT_TAGS = ("!vault", "!vault-encrypted")


class Composer:
    """One pass over the events of one document."""

    def __init__(
        self,
        events: Iterator[Any],
        text: str,
        file: str,
        *,
        scalar: Callable[[str], Scalar] = resolve,
        most: int = MAX_NODES,
        loose: bool = False,
    ) -> None:
        self._events = events
        self._text = text
        self._file = file
        self._scalar = scalar
        self._most = most
        self._loose = loose
        self._count = 0
        self._anchors: dict[str, tuple[Node, int] | None] = {}

    def document(self) -> Node:
        """The root node. Raises ConfigError, or yaml.YAMLError on bad syntax."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, Location(self._file, 1, 1))
        root = self._node(next(self._events), 0)
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error("a second document starts here", "NF-CFG-003", event, "keep one document in a file")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._spend(1, event)
        if depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels", "NF-CFG-011", event)
        self._check_tag(event)
        before = self._count
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._value(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._count - before + 1)
        return node

    def _value(self, event: Any, depth: int) -> Node:
        where = self._at(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.tag in VAULT_TAGS:
                return Node(Vaulted(), where)
            plain = event.implicit[0] and event.tag is None
            return Node(self._scalar(event.value) if plain else event.value, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return Node(tuple(items), where)
        return self._mapping(where, depth)

    def _mapping(self, where: Location, depth: int) -> Node:
        fields: dict[str, Node] = {}
        keys: dict[str, Location] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.value == _MERGE and event.implicit[0]:
                merged.extend(self._merge_sources(event, depth))
                continue
            key = self._key(event, depth)
            if key in keys:
                raise self._duplicate(key, keys[key], event)
            keys[key] = self._at(event)
            fields[key] = self._node(next(self._events), depth + 1)
        for source in merged:
            for key, node in source.fields.items():
                self._spend(1, None)
                if key not in fields:
                    fields[key], keys[key] = node, source.key_location(key)
        return Node(fields, where, keys)

    def _merge_sources(self, event: Any, depth: int) -> tuple[Node, ...]:
        node = self._node(next(self._events), depth + 1)
        sources = node.items or (node,)
        if not all(isinstance(source.value, dict) for source in sources):
            raise self._error(
                "'<<' merges a mapping or a list of mappings", "NF-CFG-012", event, f"it was given {describe(node)}"
            )
        return sources

    def _key(self, event: Any, depth: int) -> str:
        node = self._node(event, depth + 1)
        if self._loose and isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if not isinstance(node.value, str):
            plain = isinstance(event, yaml.ScalarEvent)
            hint = f'write "{event.value}" in quotes' if plain else "a template needs quotes"
            raise self._error(f"a key must be text, this is {describe(node)}", "NF-CFG-013", event, hint)
        return node.value

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise self._error(f"the alias *{event.anchor} has no anchor before it", "NF-CFG-003", event)
        known = self._anchors[event.anchor]
        if known is None:
            raise self._error(f"the anchor &{event.anchor} contains itself", "NF-CFG-011", event)
        node, weight = known
        self._spend(weight, event)
        return node

    def _spend(self, nodes: int, event: Any) -> None:
        self._count += nodes
        if self._count > self._most:
            raise self._error(f"more than {self._most} values, aliases expanded", "NF-CFG-011", event)

    def _check_tag(self, event: Any) -> None:
        tag = event.tag
        if tag is None or tag == "!":
            return
        vaulted = tag in VAULT_TAGS and isinstance(event, yaml.ScalarEvent)
        if self._loose and (vaulted or tag == "!unsafe"):
            return
        expected = _PLAIN_TAGS.get(tag.removeprefix(_TAG)) if tag.startswith(_TAG) else None
        if expected is None or not isinstance(event, expected):
            shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
            raise self._error(
                f"the tag {shown} is not supported", "NF-CFG-012", event, "write the plain value without a tag"
            )

    def _duplicate(self, key: str, first: Location, event: Any) -> ConfigError:
        where = self._at(event)
        return self._error(
            f"the key {key!r} is here twice: lines {first.line} and {where.line}",
            "NF-CFG-010",
            event,
            f"remove the one in line {first.line} or in line {where.line}",
        )

    def _error(self, what: str, code: str, event: Any, hint: str = "") -> ConfigError:
        where = self._at(event)
        shown = excerpt(self._text, where.line, where.column)
        return ConfigError(what, code=code, where=where, cause=shown and "\n" + shown, hints=(hint,) if hint else ())

    def _at(self, event: Any) -> Location:
        if event is None:
            return Location(self._file)
        mark = event.start_mark
        return Location(self._file, mark.line + 1, mark.column + 1)
