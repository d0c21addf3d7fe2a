"""What became of a run of backups, VM by VM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from novafleet.errors import ExitCode
from novafleet.model.backup import SnapshotKind

UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class DiskBackup:
    """One disk. Of a dry run ``bytes_read`` is what would be read at most, where that is known."""

    name: str
    target: str
    mode: str
    why: str
    size: int
    bytes_read: int
    bytes_stored: int


@dataclass(frozen=True, slots=True)
class VmBackup:
    """What became of one VM. ``state``: done | planned | failed | unreachable | cancelled; ``snapshot`` is its id."""

    vm: str
    domain: str
    host: str
    state: str
    environment: str = ""
    snapshot: str = ""
    consistency: str = ""
    seconds: float = 0.0
    disks: tuple[DiskBackup, ...] = ()
    error: Mapping[str, Any] | None = None
    kind: str = SnapshotKind.VM.value
    at: float = 0.0
    """The moment it is of; with a job that was taken up, an earlier run's."""
    datastores: tuple[str, ...] = ()
    """Where a place was waited for."""
    paused: float = 0.0
    """Seconds in which nothing was read for the guest's sake."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A run, or a dry one (``run`` is empty)."""

    run: str
    repository: str
    vms: tuple[VmBackup, ...]
    seconds: float = 0.0
    cancelled: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 all, 3 some, 1 none, 4 none because no host was reached, 130 interrupted."""
        states = {vm.state for vm in self.vms}
        if self.cancelled:
            return ExitCode.INTERRUPTED
        if states <= {"done", "planned"}:
            return ExitCode.OK
        if states == {UNREACHABLE}:
            return ExitCode.UNREACHABLE
        return ExitCode.PARTIAL if states & {"done", "planned"} else ExitCode.FAILED
