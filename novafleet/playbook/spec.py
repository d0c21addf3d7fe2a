"""What the schema makes of an environment file: the model's objects as far as one file entry can fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from novafleet.errors import Location
from novafleet.model.environment import Artifact, Gate, Image, Network, Scalar, Vm
from novafleet.model.policies import Policies
from novafleet.model.policy import Policy
from novafleet.model.secret import Secret

Origins = Mapping[str, Location]


@dataclass(frozen=True, slots=True)
class Located:
    """A model object that has no place for it, with where each of its keys was written."""

    value: Any
    origins: Origins


@dataclass(frozen=True, slots=True)
class Place:
    """Where a VM may go when no host is named. ``spread``: host | none."""

    group: str = "all"
    spread: str = "host"
    anti_affinity: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    source: Location = Location("")
    origins: Origins = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One dependency as written: ``db``, ``vm.db`` or ``stack.edge``; ``condition`` "" is the short form."""

    name: str
    condition: str
    source: Location


@dataclass(frozen=True, slots=True)
class VmSpec:
    """A VM before placement: ``vm`` lacks domain, uuid, dependencies, and perhaps its host."""

    vm: Vm
    place: Place | None
    depends_on: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network before placement; ``network.hosts`` holds host and group names as written."""

    network: Network
    origins: Origins


@dataclass(frozen=True, slots=True)
class StackSpec:
    """A stack before its bundle is read; ``path`` is absolute."""

    name: str
    host: str
    kind: str
    path: str
    runtime: str
    images: Mapping[str, Artifact]
    vars: Mapping[str, Scalar | Secret]
    env: Mapping[str, Scalar | Secret]
    ready: tuple[Gate, ...]
    depends_on: tuple[Wanted, ...]
    source: Location
    origins: Origins


@dataclass(frozen=True, slots=True)
class Sheet:
    """An environment file, decoded. ``declared``: names by section, also of what could not be decoded."""

    name: str
    source: Location
    images: Mapping[str, Image]
    networks: Mapping[str, NetworkSpec]
    vms: Mapping[str, VmSpec]
    stacks: Mapping[str, StackSpec]
    declared: Mapping[str, frozenset[str]]
    bases: Mapping[str, str]
    """For each VM its name in the file (``web`` for ``web-2``)."""
    variables: Mapping[str, Scalar | Secret] = field(default_factory=dict)
    backup: Policy | None = None
    policies: Policies | None = None
