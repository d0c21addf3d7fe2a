"""What every reader makes of its file, before anything is merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.fleet import Notice
from novafleet.source.node import Node, Vaulted


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was written. ``base`` is the directory its relative paths start from."""

    value: Any
    source: Location
    base: str = ""


Settings = Mapping[str, Setting]
"""By qualified name: a connection key (``address``), ``labels.NAME`` or ``vars.NAME``."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A host or group named by a group."""

    name: str
    source: Location


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One place that declares a host."""

    name: str
    source: Location
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """One place that says something about a group. ``declares``: it may stand alone (INI's ``[g:vars]`` may not)."""

    name: str
    source: Location
    hosts: tuple[Mention, ...] = ()
    children: tuple[Mention, ...] = ()
    settings: Settings = field(default_factory=dict)
    declares: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """One inventory file. ``own`` is our YAML, where a host must be declared before a group may name it.

    ``errors`` are wrong values: reported with what else is found, they do not stop the reading.
    """

    hosts: tuple[HostEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()
    own: bool = False
    notices: tuple[Notice, ...] = ()
    errors: tuple[ConfigError, ...] = ()


@dataclass(frozen=True, slots=True)
class VarFile:
    """One file of ``group_vars/`` or ``host_vars/``; ``name`` is the group or host it speaks of."""

    name: str
    host: bool
    source: Location
    settings: Settings


def variables(node: Node, base: str = "") -> dict[str, Setting]:
    """``vars.NAME`` settings of a mapping node."""
    return {
        f"vars.{name}": Setting(known(child.plain()), node.key_location(name), base)
        for name, child in node.fields.items()
    }


def known(value: Any) -> Any:
    """The value; ``Vaulted`` when any part of it is."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return Vaulted() if any(isinstance(known(each), Vaulted) for each in members) else value
