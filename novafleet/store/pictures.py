"""What a controller saw of each host when it last looked: ``pictures/HOST.json``, mode 0600, with samples of load."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

SAMPLES = 64
"""Samples of load that are kept of a host."""


@dataclass(frozen=True, slots=True)
class Sample:
    """CPUs used and pressure by guest (domain), at a time (seconds since the epoch)."""

    at: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    pressure: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remembered:
    """One host: its picture as JSON data, and samples, the oldest first."""

    picture: Mapping[str, Any]
    samples: tuple[Sample, ...]


def remember(folder: Path, host: str, picture: Mapping[str, Any], sample: Sample) -> tuple[Sample, ...]:
    """Keep what was seen just now; returns the samples, the newest last. Raises OSError."""
    before = recall(folder, host)
    samples = (*(before.samples if before else ()), sample)[-SAMPLES:]
    _write(folder, host, picture, samples)
    return samples


def close(folder: Path, host: str, why: str) -> None:
    """From now on it takes nobody in ("": it does). One that nobody has seen is left alone. Raises OSError."""
    before = recall(folder, host)
    if before is not None and "site" in before.picture:
        _write(folder, host, {**before.picture, "site": {**before.picture["site"], "closed": why}}, before.samples)


def _write(folder: Path, host: str, picture: Mapping[str, Any], samples: Sequence[Sample]) -> None:
    rows = [{"at": each.at, "cpu": dict(each.cpu), "pressure": dict(each.pressure)} for each in samples]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"picture": picture, "samples": rows}, file)
    Path(temporary).replace(_of(folder, host))


def recall(folder: Path, host: str) -> Remembered | None:
    """What is remembered of a host; None for nothing, or for a file that is damaged."""
    try:
        found = json.loads(_of(folder, host).read_text())
        samples = tuple(Sample(float(row["at"]), row["cpu"], row["pressure"]) for row in found["samples"])
        return Remembered(found["picture"], samples)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recall_all(folder: Path, hosts: Iterable[str]) -> Mapping[str, Remembered]:
    """What is remembered of these hosts."""
    found = ((host, recall(folder, host)) for host in hosts)
    return {host: each for host, each in found if each is not None}


def _of(folder: Path, host: str) -> Path:
    return folder / f"{quote(host, safe='')}.json"
