"""What is wanted of one VM's backup, and what stands ready to be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from novafleet.capability.backup.export import Address
from novafleet.capability.backup.history import History
from novafleet.capability.backup.hooks import Hooks
from novafleet.capability.backup.plan import DiskPlan
from novafleet.capability.backup.read import Pace
from novafleet.model.backup import Consistency


@dataclass(frozen=True, slots=True)
class Order:
    """One VM. ``consistency``: auto | crash | fs. ``heartbeat`` is a file on the host that stays fresh while we live:
    the VM's lease."""

    domain: str
    vm: str
    environment: str
    heartbeat: str
    pace: Pace
    history: History
    consistency: str = "auto"
    full: bool = False
    tags: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Disks, by name, that are left out."""
    hooks: Hooks | None = None


async def watched() -> None:
    """Somebody looks after the disks already."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Frozen disks: how each is read after all, and where, by target. ``ended`` says why nobody exports them any more,
    or "" while somebody does; ``at`` is the moment they are of, 0 for this one. ``guard`` has the host look after them
    while they are read."""

    plans: tuple[DiskPlan, ...]
    consistency: Consistency
    addresses: Mapping[str, Address]
    ended: Callable[[], Awaitable[str]]
    at: float = 0.0
    guard: Callable[[], Coroutine[Any, Any, None]] = watched
