"""A run as the journal, the engine and the reports see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """How a run stands; ``running`` with no living holder means it was killed and can be resumed."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NodeState(StrEnum):
    """How one step ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Record:
    """One journal line. ``kind``: intent | done | failed | skipped | cancelled | undo_intent | undone."""

    run: str
    node: str
    attempt: int
    kind: str
    epoch: int
    at: float
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """The header of a run. ``request`` is what ``resume`` needs to plan again: verb, file, vars, limit, targets."""

    id: str
    environment: str
    verb: str
    state: RunState
    started: float
    ended: float = 0.0
    holder: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeResult:
    """Outcome of one step: times are monotonic seconds since the run's start."""

    node: str
    resource: str
    host: str
    state: NodeState
    started: float
    ended: float
    attempts: int = 1
    label: str = ""
    error: Mapping[str, Any] | None = None
    because: str = ""
    """For a skipped step: the root failure in words."""
    outcome: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Progress for people and machines: ``kind`` is run_started | step_started | step_progress | step_done |
    step_failed | step_skipped | step_retry | run_ended | notice."""

    kind: str
    at: float
    run: str = ""
    node: str = ""
    resource: str = ""
    host: str = ""
    text: str = ""
    done: int = 0
    total: int = 0
    error: Mapping[str, Any] | None = None
