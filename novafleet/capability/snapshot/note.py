"""What NovaFleet remembers of a snapshot, kept in its description in libvirt: every controller sees it, and so does
``virsh snapshot-info``.

    before the upgrade

    novafleet: {"mode": "fs", "tags": ["release"], …}
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "novafleet: "
SAFETY = "safety"
"""Tag of a snapshot made before going back: it lives until its time is over, and takes no other's place."""


@dataclass(frozen=True, slots=True)
class Note:
    """``mode`` is what was achieved (crash | fs | live | offline), ``why`` says what kept it from the one ``asked``
    for; ``expires`` is in seconds since the epoch (0: never); ``hold`` keeps it from ``prune``; ``group`` names the
    snapshots taken together and ``run`` the run that did. ``copies`` are files kept with it (UEFI variables,
    TPM state): by where each belongs, its copy. ``choice`` is why it lies inside the images, or on overlays.

    ``images`` are the images that hold it, by disk: libvirt 9.0 changes its own record of them when a parent is
    forgotten (docs/adr/0005-jobs-and-images.md)."""

    text: str = ""
    mode: str = ""
    asked: str = ""
    why: str = ""
    choice: str = ""
    run: str = ""
    group: str = ""
    environment: str = ""
    tags: tuple[str, ...] = ()
    expires: float = 0.0
    hold: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)


def write(note: Note) -> str:
    """The description."""
    fields = {each.name: getattr(note, each.name) for each in dataclasses.fields(note)}
    fields = {name: value for name, value in fields.items() if name != "text" and value}
    line = PREFIX + json.dumps(fields, ensure_ascii=True)
    return f"{note.text}\n\n{line}" if note.text else line


def read(description: str) -> Note | None:
    """The note of a description; None for a snapshot made by other means, or whose note was spoilt."""
    text, _, line = description.strip().rpartition("\n")
    if not line.startswith(PREFIX):
        return None
    try:
        data = json.loads(line.removeprefix(PREFIX))
    except ValueError:
        return None
    return _note(text.strip(), data) if isinstance(data, dict) else None


def _note(text: str, data: Mapping[str, Any]) -> Note:
    words = ("mode", "asked", "why", "choice", "run", "group", "environment")
    tags = data.get("tags", ())
    return Note(
        text=text,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        expires=_seconds(data.get("expires")),
        hold=data.get("hold") is True,
        copies=_paths(data.get("copies")),
        images=_paths(data.get("images")),
        **{word: str(data.get(word, "")) for word in words},
    )


def _seconds(data: object) -> float:
    """JSON as Python reads it has NaN and Infinity, and whole numbers of any length."""
    try:
        seconds = float(data) if isinstance(data, int | float) else 0.0
    except OverflowError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _paths(data: object) -> Mapping[str, str]:
    return {str(key): str(path) for key, path in data.items()} if isinstance(data, dict) else {}
