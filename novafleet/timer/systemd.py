"""Timers of this machine's systemd, or of a user's own: a service and a timer a schedule."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet import xdg
from novafleet.errors import ScheduleError
from novafleet.timer.program import call
from novafleet.timer.unit import Task, service, timer

PREFIX = "novafleet-"


@dataclass(frozen=True, slots=True)
class Systemd:
    """``folder`` is where units are put; ``system``: the machine's rather than a user's."""

    folder: Path
    system: bool

    @classmethod
    def here(cls) -> Systemd:
        """Root's timers are the machine's, any other user's are its own. Raises ScheduleError NF-SCHED-003 where no
        systemd runs (the check of sd_booted(3))."""
        if not Path("/run/systemd/system").is_dir():
            raise ScheduleError("systemd does not run here", where="this machine", hints=("use a crontab: add --cron",))
        if os.geteuid() == 0:
            return cls(Path("/etc/systemd/system"), system=True)
        return cls(xdg.config() / "systemd/user", system=False)

    def install(self, task: Task) -> tuple[str, ...]:
        """Write both units and start the timer; what a person should know. Raises ScheduleError NF-SCHED-004."""
        texts = {"service": service(task, system=self.system), "timer": timer(task)}
        for kind, text in texts.items():
            self._write(self._path(task.name, kind), text)
        self._systemctl("daemon-reload")
        self._systemctl("enable", "--now", f"{PREFIX}{task.name}.timer")
        self._systemctl("restart", f"{PREFIX}{task.name}.timer")
        return self._notices()

    def remove(self, name: str) -> None:
        """Stop the timer and delete both units. Raises ScheduleError NF-SCHED-004."""
        if self._path(name, "timer").exists():
            self._systemctl("disable", "--now", f"{PREFIX}{name}.timer")
        for kind in ("timer", "service"):
            self._path(name, kind).unlink(missing_ok=True)
        self._systemctl("daemon-reload")

    def states(self, names: Sequence[str]) -> Mapping[str, str]:
        """By schedule what its timer is: ``active``, ``inactive``, ``failed`` …"""
        if not names:
            return {}
        units = [f"{PREFIX}{name}.timer" for name in names]
        shown = self._systemctl("show", "--property=ActiveState", "--value", *units)
        return dict(zip(names, shown.split(), strict=False))

    def _path(self, name: str, kind: str) -> Path:
        return self.folder / f"{PREFIX}{name}.{kind}"

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as exc:
            what, cause = "a unit cannot be written", exc.strerror or str(exc)
            raise ScheduleError(what, code="NF-SCHED-004", where=str(path), cause=cause) from exc

    def _systemctl(self, *words: str) -> str:
        return call("systemctl", *(() if self.system else ("--user",)), *words)

    def _notices(self) -> tuple[str, ...]:
        """A user's timers stop when the user logs out, unless it lingers (loginctl(1))."""
        if self.system or _lingers():
            return ()
        return ("timers stop when you log out, unless you run: loginctl enable-linger",)


def _lingers() -> bool:
    return (
        call("loginctl", "show-user", "--property=Linger", "--value", getpass.getuser(), fine=(0, 1)).strip() == "yes"
    )
