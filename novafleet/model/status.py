"""How one resource stands, as ``status`` shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drift:
    """One field in three versions. ``kind``: changed-in-file | changed-on-host | both | missing | orphan."""

    field: str
    desired: str
    applied: str
    live: str
    kind: str


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """``state`` is the field's own word (running, active, present, absent, unreachable …); ``ready`` is None when
    nothing says what ready means for it or it was not asked."""

    kind: str
    name: str
    address: str
    host: str
    state: str
    ready: bool | None = None
    drift: tuple[Drift, ...] = ()
    note: str = ""
