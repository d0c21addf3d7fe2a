"""Schedules: what a controller was told to do by itself, and how it went. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from novafleet.errors import ExitCode
from novafleet.model.policy import Notify, Policy, Window


@dataclass(frozen=True, slots=True)
class Member:
    """Whom a job backs up, by which policy: one VM of an environment (``ENV/NAME``) or stack
    (``ENV/stack.NAME``), or all of a host (``HOST/*``)."""

    pattern: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Job:
    """What one schedule does: members whose policies agree in everything that concerns a run as a whole."""

    name: str
    policy: Policy
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job as it was installed. ``file`` is the environment file, empty for the inventory's own policy; paths are
    absolute. ``claims`` are all VMs and stacks (``ENV/NAME``) its file describes, backed up or not. ``timer``:
    systemd | cron."""

    name: str
    inventory: tuple[str, ...]
    expression: str
    timer: str
    installed: float
    file: str = ""
    environment: str = ""
    claims: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    variable_files: tuple[str, ...] = ()
    window: Window | None = None
    notify: Notify | None = None
    """As it was when the file was last read: a file that cannot be read any more is told too."""


class RunState(StrEnum):
    """``skipped``: outside its window; ``died``: it was killed, and nobody knows how far it came."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class VmOutcome:
    """One VM in one run: its snapshot, or the finding that kept it from having one. ``vm`` is ``HOST/DOMAIN``;
    ``modes`` says per disk how it was read. ``kind`` is vm | stack."""

    vm: str
    snapshot: str = ""
    bytes_read: int = 0
    bytes_stored: int = 0
    modes: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    kind: str = "vm"


@dataclass(frozen=True, slots=True)
class Duty:
    """Something a run did beside the backups, in a person's words: ``forget``, ``verify``, ``drill``."""

    kind: str
    text: str
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """One run of a schedule. ``missed``: moments before it at which none happened (at most ``MOST_MISSED`` are told);
    ``errors`` are findings about the run as a whole; ``told`` who was told, or why not."""

    schedule: str
    id: str
    started: float
    state: RunState = RunState.RUNNING
    ended: float = 0.0
    exit_code: ExitCode = ExitCode.OK
    repository: str = ""
    vms: tuple[VmOutcome, ...] = ()
    duties: tuple[Duty, ...] = ()
    missed: tuple[float, ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    told: tuple[str, ...] = ()


MOST_MISSED = 100
