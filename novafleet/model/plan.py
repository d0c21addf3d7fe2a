"""A plan: what would change, why, what it costs, and the steps that do it. Plain data, JSON both ways.

The object printed by ``plan`` is the object executed by ``up``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from novafleet.errors import Location


class Change(StrEnum):
    """Terraform's symbols."""

    CREATE = "+"
    UPDATE = "~"
    DELETE = "-"
    REPLACE = "-/+"
    NONE = " "


class Impact(StrEnum):
    """What a change costs, least first."""

    LIVE = "live"
    REBOOT = "reboot"
    RECREATE = "recreate"
    DATA_LOSS = "data-loss"


class StepClass(StrEnum):
    """What a resume does with an intent that has no outcome (docs/concepts/engine.md)."""

    CONVERGENT = "convergent"
    PROBED = "probed"
    ATTACHED = "attached"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class Reason:
    """One difference: ``field`` went from ``before`` to ``after`` because of ``source``."""

    text: str
    field: str = ""
    before: str = ""
    after: str = ""
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the DAG. ``id`` is ``ADDRESS/VERB`` and stable across plans; ``action`` a registry key.

    ``args`` is JSON without secrets: names and digests; specs are looked up in the environment. ``after`` names
    steps that must have succeeded; one that is not in the plan is already satisfied. ``retries`` is how often an
    error whose ``retry`` is now or later is tried again.
    """

    id: str
    action: str
    resource: str
    host: str
    step_class: StepClass
    args: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    timeout: float = 300.0
    retries: int = 0
    check: bool = False
    """True for a gate: it changes nothing and is not counted as a change."""
    label: str = ""
    """What a person calls it in progress and critical path: ``cloud-init``, ``boot``, ``tcp:22``."""


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One line of the plan's tree. ``address`` is ``vm.db``, ``network.lab@kvm1``, ``volume.db.root`` …"""

    address: str
    kind: str
    name: str
    host: str
    change: Change
    impact: Impact = Impact.LIVE
    reasons: tuple[Reason, ...] = ()
    bytes_lost: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the caller consents to. ``volumes``: ``down`` deletes unprotected volumes too. ``allow_data_loss``:
    ``up`` may replace or delete volumes. ``destroy_protected``: even ``protect: true`` ones. ``snapshot_before``: VMs
    that ``up`` restarts get a snapshot first."""

    volumes: bool = False
    allow_data_loss: bool = False
    destroy_protected: bool = False
    snapshot_before: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """``intent`` is up | down. ``digest`` is that of the environment it was made from.

    A saved plan is stale when planning again from fresh facts gives other steps: nothing weaker is trusted.
    """

    environment: str
    intent: str
    changes: tuple[ResourceChange, ...]
    digest: str = ""
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Hosts that could not be observed, with the reason: their resources are not in ``changes``."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in tree order (the DAG decides the real order)."""
        return tuple(step for change in self.changes for step in change.steps)

    @property
    def changed(self) -> tuple[ResourceChange, ...]:
        """Only what differs."""
        return tuple(change for change in self.changes if change.change is not Change.NONE)
