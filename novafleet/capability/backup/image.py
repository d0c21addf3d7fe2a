"""What ``look.sh`` said of the images under a VM's disks. A host's words: untrusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IN_ORDER = frozenset({"auto"})
"""Flags of a bitmap that was stored whole and records: without ``in-use``, which an unclean end leaves behind."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One image of a chain; sizes in bytes, ``bitmaps`` maps a name to its flags (qemu's docs/interop/qcow2.txt)."""

    path: str
    format: str
    size: int
    allocated: int
    bitmaps: Mapping[str, frozenset[str]] = field(default_factory=dict)
    version: int = 0
    """Of qcow2: 3 can hold bitmaps, 2 cannot."""


@dataclass(frozen=True, slots=True)
class Image:
    """The images under a disk, the active one first; none when there is no file. ``free`` and ``total`` are bytes of
    the file system its scratch goes to; ``error`` is what qemu-img complained of."""

    layers: tuple[Layer, ...] = ()
    free: int = 0
    total: int = 0
    error: str = ""

    @property
    def size(self) -> int:
        """As the guest sees it; 0 when unknown."""
        return self.layers[0].size if self.layers else 0

    @property
    def allocated(self) -> int:
        """What a full backup reads at most."""
        return min(self.size, sum(layer.allocated for layer in self.layers))

    @property
    def holds_bitmaps(self) -> bool:
        """Only qcow2 of version 3 does."""
        return bool(self.layers) and self.layers[0].format == "qcow2" and self.layers[0].version >= 3


@dataclass(frozen=True, slots=True)
class Looked:
    """All of a VM. ``home`` is the directory its QEMU has to itself, empty when it is off."""

    home: str
    images: Mapping[str, Image]


def read(text: str, mark: str) -> Looked:
    """Parse the answer. What makes no sense becomes an ``error`` of its disk."""
    home, images = "", {}
    for part in text.split(mark)[1:]:
        line, _, rest = part.strip().partition("\n")
        words = line.split(" ")
        if words[0] == "home":
            home = " ".join(words[1:])
        elif len(words) == 5:
            images[words[1]] = _image(words, rest)
    return Looked(home, images)


def _image(words: list[str], said: str) -> Image:
    free, total = int(words[3]), int(words[4])
    if words[2] != "0":
        return Image(free=free, total=total, error=said.strip())
    try:
        layers = tuple(_layer(each) for each in json.loads(said))
    except (ValueError, TypeError, KeyError, AttributeError):
        return Image(free=free, total=total, error=f"qemu-img said {said[:80]!r}")
    return Image(layers, free, total)


def _layer(data: Mapping[str, Any]) -> Layer:
    specific = data.get("format-specific", {}).get("data", {})
    bitmaps = {str(each["name"]): frozenset(map(str, each["flags"])) for each in specific.get("bitmaps", ())}
    return Layer(
        path=str(data["filename"]),
        format=str(data["format"]),
        size=int(data["virtual-size"]),
        allocated=int(data.get("actual-size", 0)),
        bitmaps=bitmaps,
        version={"0.10": 2, "1.1": 3}.get(specific.get("compat", ""), 0),
    )
