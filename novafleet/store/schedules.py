"""What a controller remembers of its schedules: ``schedules/NAME/schedule.json`` and ``runs/ID.json``, mode 0600."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from novafleet.errors import ScheduleError
from novafleet.model.encode import decode, encode
from novafleet.model.schedule import Schedule, ScheduledRun

T = TypeVar("T")
HISTORY = 1000
"""Runs of a schedule that are kept."""


@dataclass(frozen=True, slots=True)
class Schedules:
    """The folder of all schedules."""

    folder: Path

    @classmethod
    def of(cls, state: Path) -> Schedules:
        """Those of a controller, by its folder of state."""
        return cls(state / "schedules")

    def all(self) -> tuple[Schedule, ...]:
        """Every installed schedule, by name. Raises ScheduleError NF-SCHED-007 for a damaged file."""
        return tuple(_read(path, Schedule) for path in sorted(self.folder.glob("*/schedule.json")))

    def get(self, name: str) -> Schedule | None:
        """One schedule. Raises ScheduleError NF-SCHED-007."""
        path = self._of(name) / "schedule.json"
        return _read(path, Schedule) if Path(name).name == name and path.is_file() else None

    def put(self, schedule: Schedule) -> None:
        """Remember it, in place of what had its name. Raises ScheduleError NF-SCHED-007."""
        _write(self._of(schedule.name) / "schedule.json", schedule)

    def remove(self, name: str) -> None:
        """Forget it and its runs."""
        shutil.rmtree(self._of(name), ignore_errors=True)

    def runs(self, name: str) -> Iterator[ScheduledRun]:
        """Its runs, newest first, each read when it is asked for. Raises ScheduleError NF-SCHED-007."""
        for path in sorted((self._of(name) / "runs").glob("*.json"), reverse=True):
            yield _read(path, ScheduledRun)

    def record(self, run: ScheduledRun) -> None:
        """Write a run in place of what it was before; the oldest beyond ``HISTORY`` go. Raises ScheduleError."""
        folder = self._of(run.schedule) / "runs"
        _write(folder / f"{run.id}.json", run)
        for path in sorted(folder.glob("*.json"), reverse=True)[HISTORY:]:
            path.unlink(missing_ok=True)

    def _of(self, name: str) -> Path:
        return self.folder / name


def _read(path: Path, kind: type[T]) -> T:
    try:
        return decode(kind, json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _unusable(path, exc, f"rm {path}   # and install the schedule again") from exc


def _write(path: Path, value: Any) -> None:
    """Replace the file in one step (mode 0600, folders 0700)."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(descriptor, "w") as file:
            json.dump(encode(value), file, indent=1)
        Path(temporary).replace(path)
    except OSError as exc:
        raise _unusable(path, exc, f"ls -ld {path.parent}   # it must be yours and writable") from exc


def _unusable(path: Path, cause: Exception, hint: str) -> ScheduleError:
    what = "what is remembered of a schedule cannot be used"
    return ScheduleError(what, code="NF-SCHED-007", where=str(path), cause=str(cause), hints=(hint,))
