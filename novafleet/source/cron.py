"""Cron expressions of five fields: which moments they mean, by Debian cron's rules (which ``cronsim`` implements), and
the same for systemd (``OnCalendar=``, systemd.time(7)).

Steps follow ``*`` or a range only, and there is no ``L``, ``W`` or ``#``: the rest crontab(5) and systemd understand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cronsim import CronSim

ALIASES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_VALUE = "(?:[0-9]{1,2}|[A-Z]{3})"
_TERM = rf"(?:(?:\*|{_VALUE}-{_VALUE})(?:/[0-9]{{1,2}})?|{_VALUE})"
_EXPRESSION = re.compile(rf"{_TERM}(?:,{_TERM})*(?: {_TERM}(?:,{_TERM})*){{4}}")
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - only to parse


def _moments(expression: str, start: datetime, *, reverse: bool = False) -> CronSim:
    """``cronsim`` and its time zones take 40 ms to load: most commands meet no schedule."""
    from cronsim import CronSim

    return CronSim(expression, start, reverse=reverse)


def check(text: str) -> str:
    """The expression in upper case, blanks made one. Raises ValueError saying what is wrong."""
    expression = " ".join(text.upper().split())
    if len(expression) > 200 or not _EXPRESSION.fullmatch(expression):
        raise ValueError("not five fields (minute hour day month weekday) of numbers, names, '*', '-', ',' and '/'")
    from cronsim import CronSimError

    try:
        next(_moments(expression, _EPOCH))
    except (CronSimError, StopIteration) as exc:
        raise ValueError(str(exc) or "it never comes true") from exc
    return expression


def following(expression: str, after: datetime) -> datetime:
    """The first moment after ``after``, in its time zone."""
    return next(_moments(expression, after))


def preceding(expression: str, before: datetime) -> datetime:
    """The last moment before ``before``, in its time zone."""
    return next(_moments(expression, before, reverse=True))


def between(expression: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """The moments after ``after``, up to and with ``until``."""
    return takewhile(lambda moment: moment <= until, _moments(expression, after))


def on_calendar(expression: str) -> tuple[str, ...]:
    """What systemd's ``OnCalendar=`` has to say, one or two lines: cron takes day *or* weekday when both are given."""
    parsed = _moments(expression, _EPOCH)
    weekdays = {day % 7 for day in parsed.weekdays if isinstance(day, int)}
    months = _listed(parsed.months, 12)
    clock = f"{_listed(parsed.hours, 24)}:{_listed(parsed.minutes, 60)}:00"
    days = "" if len(weekdays) == 7 else ",".join(_DAYS[day] for day in sorted(weekdays)) + " "
    date = f"*-{months}-{_listed(parsed.days, 31)} {clock}"
    if parsed.day_and:
        return (days + date,)
    return (f"{days}*-{months}-* {clock}", date)


def _listed(values: Collection[int], most: int) -> str:
    return "*" if len(values) == most else ",".join(str(value) for value in sorted(values))


def zone() -> tzinfo:
    """The controller's time zone with its daylight saving: timers go by ``/etc/localtime``, whatever ``TZ`` says."""
    from zoneinfo import ZoneInfo

    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, "localtime")
    except (OSError, ValueError):
        return UTC


def local(seconds: float) -> datetime:
    """A moment, from seconds since the epoch, in the controller's time zone."""
    return datetime.fromtimestamp(seconds, zone())
