"""Programs of the controller that timers are kept with: ``systemctl`` and ``crontab``."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from novafleet.errors import ScheduleError

SECONDS = 60.0
AS_IT_IS = "surrogateescape"
"""A crontab may hold bytes that are no UTF-8: they come back as they were."""
INSTEAD = {"crontab": "install cron, or let another timer run: novafleet schedule run NAME"}
SESSION = "export XDG_RUNTIME_DIR=/run/user/$(id -u)   # after su or sudo; or log in as this user"


def call(*words: str, stdin: str = "", fine: Sequence[int] = (0,)) -> str:
    """Its standard output. Raises ScheduleError NF-SCHED-003 (no such program), NF-SCHED-004 (it refused)."""
    try:
        done = subprocess.run(
            words, input=stdin.encode(errors=AS_IT_IS), capture_output=True, check=False, timeout=SECONDS
        )
    except OSError as exc:
        what, hints = f"{words[0]} cannot be run", (INSTEAD.get(words[0], "use a crontab: add --cron"),)
        raise ScheduleError(what, cause=exc.strerror or str(exc), hints=hints) from exc
    except subprocess.TimeoutExpired as exc:
        raise _refused(words, f"no answer within {SECONDS:g} s") from exc
    if done.returncode not in fine:
        said = done.stderr.decode(errors="replace").strip()
        raise _refused(words, said or f"it ended with {done.returncode}")
    return done.stdout.decode(errors=AS_IT_IS)


def _refused(words: Sequence[str], cause: str) -> ScheduleError:
    hints = (SESSION,) if "--user" in words else ()
    what = f"{' '.join(words)} failed"
    return ScheduleError(what, code="NF-SCHED-004", where="this machine", cause=cause, hints=hints)
