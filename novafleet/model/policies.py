"""What policies say of moving VMs: when, how much at once, who first, who with whom. Times are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.errors import Location
from novafleet.model.policy import Window


@dataclass(frozen=True, slots=True)
class VmClass:
    """VMs that are moved alike: ``vms`` are names or globs. ``max_downtime`` milliseconds (0: the policy's), ``modes``
    that may be used (empty: the policy's), ``window`` in which it may begin. ``stay``: never moved by drains and
    rebalancing, only by name."""

    vms: tuple[str, ...]
    priority: int = 0
    max_downtime: int = 0
    modes: tuple[str, ...] = ()
    window: Window | None = None
    stay: bool = False


@dataclass(frozen=True, slots=True)
class Separation:
    """VMs (names or globs) of which no two may be on one host, or with ``across`` ``domain`` in one failure domain."""

    vms: tuple[str, ...]
    across: str = "host"


@dataclass(frozen=True, slots=True)
class Balance:
    """When rebalancing is worth it (``placement/rebalance.py``'s Aim); a VM that moved rests for ``cooldown`` seconds,
    and load is what hosts had over ``window`` seconds."""

    tolerance: float = 0.10
    gain: float = 0.01
    moves: int = 8
    cooldown: float = 3600.0
    window: float = 900.0


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of an environment's VMs, or of an inventory's hosts. ``bandwidth`` bytes a second between two hosts
    (0: no limit), shared by the ``per_link`` moves between them; ``per_host`` moves at once out of or into one host.
    ``failure_domain`` is the label whose value tells what fails together; ``spare`` hosts may fail at any time."""

    window: Window | None = None
    bandwidth: int = 0
    per_host: int = 2
    per_link: int = 2
    modes: tuple[str, ...] = ()
    max_downtime: int = 0
    classes: Mapping[str, VmClass] = field(default_factory=dict)
    anti_affinity: tuple[Separation, ...] = ()
    affinity: tuple[tuple[str, ...], ...] = ()
    failure_domain: str = "rack"
    spare: int = 0
    balance: Balance = Balance()
    source: Location = Location("")
    origins: Mapping[str, Location] = field(default_factory=dict)
    """Where each key was written, as it is written there (``parallel``)."""
