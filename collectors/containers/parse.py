"""Engines, Compose commands, stack records and the engines' own inspect documents, as plain data."""

from __future__ import annotations

import json


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{engines: {name: version}, compose: {name: [command]}, inspect: {name: [document]}, stacks: {dir: …}, silent}``

    ``silent`` lists engines that are installed and do not answer; they are none of ``engines``.
    """
    silent: list[str] = []
    engines: dict[str, str] = {}
    compose: dict[str, list[str]] = {}
    inspect: dict[str, list[dict[str, object]]] = {}
    stacks: dict[str, dict[str, object]] = {}
    for frame in text.split(f"{mark} ")[1:]:
        head, _, body = frame.partition("\n")
        kind, _, rest = head.partition(" ")
        name, _, value = rest.partition(" ")
        if kind == "engine":
            engines[name] = value
        elif kind == "silent":
            silent.append(name)
        elif kind == "compose":
            compose.setdefault(name, []).append(value)
        elif kind == "inspect":
            inspect[name] = [document for line in body.split("\n") if (document := _mapping(line))]
        elif kind == "stack":
            stacks[rest] = _mapping(body)
    engines = {name: version for name, version in engines.items() if name not in silent}
    return {"engines": engines, "compose": compose, "inspect": inspect, "stacks": stacks, "silent": silent}


def _mapping(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # not so NaN, 1e999 and "\\ud800"
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
