"""Programs of the controller that timers are kept with: ``systemctl`` and ``crontab``."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from novafleet.errors import ScheduleError

SECONDS = 60.0


def call(*words: str, stdin: str = "", fine: Sequence[int] = (0,)) -> str:
    """Its standard output. Raises ScheduleError NF-SCHED-003 (no such program), NF-SCHED-004 (it refused)."""
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, check=False, timeout=SECONDS, errors="replace"
        )
    except OSError as exc:
        raise ScheduleError(f"{words[0]} cannot be run", cause=exc.strerror or str(exc)) from exc
    except subprocess.TimeoutExpired as exc:
        raise _refused(words, f"no answer within {SECONDS:g} s") from exc
    if done.returncode not in fine:
        raise _refused(words, done.stderr.strip() or f"it ended with {done.returncode}")
    return done.stdout


def _refused(words: Sequence[str], cause: str) -> ScheduleError:
    return ScheduleError(f"{' '.join(words)} failed", code="NF-SCHED-004", where="this machine", cause=cause)
