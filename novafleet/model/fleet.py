"""The inventory as data: hosts, groups, and which file and line every value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from novafleet.errors import Location


class TrustPolicy(StrEnum):
    """How an unknown host key is met; a *changed* key is refused by every policy."""

    STRICT = "strict"
    ACCEPT_NEW = "accept-new"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Become:
    """How root is reached: not at all, sudo without password, or sudo with one.

    ``password`` names a source, never the secret: ``env:NAME``, ``file:PATH`` or ``ask``.
    """

    enabled: bool = False
    password: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """One managed host. What is empty is left to ``ssh -G`` (the user's ssh_config)."""

    name: str
    address: str
    port: int = 0
    user: str = ""
    key: str = ""
    known_hosts: str = ""
    jump: tuple[str, ...] = ()
    become: Become = Become()
    trust: TrustPolicy = TrustPolicy.STRICT
    fingerprint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    source: Location = Location("")
    origins: Mapping[str, tuple[Location, ...]] = field(default_factory=dict)
    """Every place that set a value, the winner last; by ``address``, ``labels.rack``, ``vars.ntp`` …"""
    history: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """What each place of ``origins`` set, in the same order."""


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of hosts; ``hosts`` are its own in their order there, then those of child groups."""

    name: str
    hosts: tuple[str, ...]
    children: tuple[str, ...] = ()
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in the inventory that was read, but not as its author may think: said, never fatal."""

    text: str
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole inventory. ``all`` and ``ungrouped`` always exist among ``groups``."""

    hosts: Mapping[str, Host]
    groups: Mapping[str, Group]
    notices: tuple[Notice, ...] = ()
