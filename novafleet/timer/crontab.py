"""A user's crontab: a marked block a schedule, everything else left as it is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from novafleet.errors import ScheduleError
from novafleet.timer.program import call


def install(name: str, expression: str, run: Sequence[str], settle: Sequence[str]) -> None:
    """Put the block of a schedule in, in place of an older one. Raises ScheduleError NF-SCHED-003, -004."""
    _write([*without(name, _read()), *block(name, expression, run, settle)])


def remove(name: str) -> None:
    """Take the block of a schedule out. Raises ScheduleError NF-SCHED-003, -004."""
    lines = _read()
    kept = without(name, lines)
    if kept != lines:
        _write(kept)


def installed(name: str) -> bool:
    """Is there a block? Raises ScheduleError NF-SCHED-003, -004."""
    return _begin(name) in _read()


def block(name: str, expression: str, run: Sequence[str], settle: Sequence[str]) -> list[str]:
    """The lines: in a command ``%`` ends a line unless escaped (crontab(5)). ``settle`` runs when ``run`` was killed
    or failed."""
    command = f"{shlex.join(run)} || {shlex.join(settle)}".replace("%", "\\%")
    if "\n" in command:
        what = "a crontab cannot hold a path with a line break"
        raise ScheduleError(what, code="NF-SCHED-004", where="crontab")
    return [_begin(name), f"{expression} {command}", _end(name)]


def without(name: str, lines: Sequence[str]) -> list[str]:
    """The lines outside the block of a schedule. A block somebody cut the end off ends with its command."""
    kept: list[str] = []
    inside = 0
    for line in lines:
        if line == _begin(name):
            inside = 3
        inside -= inside > 0
        if not inside and line != _end(name):
            kept.append(line)
        elif line == _end(name):
            inside = 0
    return kept


def _begin(name: str) -> str:
    return f"# novafleet schedule {name}: begin (novafleet schedule rm {name})"


def _end(name: str) -> str:
    return f"# novafleet schedule {name}: end"


def _read() -> list[str]:
    """An absent crontab is told by status 1 and these words, which Debian's cron, cronie and BusyBox do not translate;
    anything else must not pass for an empty one: it would be overwritten."""
    try:
        text = call("crontab", "-l")
        return text.removesuffix("\n").split("\n") if text else []
    except ScheduleError as error:
        absent = "no crontab for" in error.cause or "No such file" in error.cause
        if error.code == "NF-SCHED-004" and absent:
            return []
        raise


def _write(lines: Sequence[str]) -> None:
    call("crontab", "-", stdin="".join(f"{line}\n" for line in lines))
