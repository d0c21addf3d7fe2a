"""One number for everything an environment asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from novafleet.errors import Location
from novafleet.model.environment import Artifact, Environment, Vm
from novafleet.model.secret import Secret

_POSITIONS = ("source", "origins", "digest", "moved_from", "between")


def environment_digest(environment: Environment) -> str:
    """sha256 of the canonical JSON. Where things are written does not count, the order of disks and NICs does;
    secrets count by their hash."""
    canonical = json.dumps(_plain(environment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Secret):
        return hashlib.sha256(value.reveal()).hexdigest()
    if isinstance(value, Location):
        return None
    if isinstance(value, Artifact) and value.sha256:
        return value.sha256
    if isinstance(value, Vm):
        ordered = {"disks": list(value.disks.values()), "nics": list(value.nics.values())}
        return {**_members(value), **_plain(ordered)}
    if is_dataclass(value) and not isinstance(value, type):
        return _members(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _members(value: Any) -> dict[str, Any]:
    return {name: _plain(getattr(value, name)) for name in _names(value.__class__)}


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.name not in _POSITIONS)
