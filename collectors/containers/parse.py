"""Engines, Compose commands, stack records and the engines' own inspect documents, as plain data."""

from __future__ import annotations

import json
from typing import TypeVar

_Document = TypeVar("_Document", list[object], dict[str, object])


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{engines: {name: version}, compose: {name: [command]}, inspect: {name: [document]}, stacks: {dir: …}}``."""
    engines: dict[str, str] = {}
    compose: dict[str, list[str]] = {}
    inspect: dict[str, list[object]] = {}
    stacks: dict[str, dict[str, object]] = {}
    for frame in text.split(f"{mark} ")[1:]:
        head, _, body = frame.partition("\n")
        kind, _, rest = head.partition(" ")
        name, _, value = rest.partition(" ")
        if kind == "engine":
            engines[name] = value
        elif kind == "compose":
            compose.setdefault(name, []).append(value)
        elif kind == "inspect":
            inspect[name] = _json(body, [])
        elif kind == "stack":
            stacks[rest] = _json(body, {})
    return {"engines": engines, "compose": compose, "inspect": inspect, "stacks": stacks}


def _json(text: str, empty: _Document) -> _Document:
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return empty
    return document if isinstance(document, type(empty)) else empty
