"""Cron's five fields: what they mean, and the same for systemd, which is asked itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.source import cron

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CALENDARS = {
    "0 0 * * *": ("*-*-* 0:0:00",),
    "*/15 1-5 * * MON-FRI": ("Mon,Tue,Wed,Thu,Fri *-*-* 1,2,3,4,5:0,15,30,45:00",),
    "30 2 1,15 * *": ("*-*-1,15 2:30:00",),
    "0 3 * JAN,JUL 0": ("Sun *-1,7-* 3:0:00",),
    "0 3 1 * 7": ("Sun *-*-* 3:0:00", "*-*-1 3:0:00"),
}


@pytest.mark.parametrize("expression", CALENDARS)
def test_systemd_says_the_same(expression: str) -> None:
    assert cron.on_calendar(expression) == CALENDARS[expression]


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 30 2 *", "0 0 L * *",
     "0 0 * * MON#1", "5/15 * * * *", "0 0 * * 8", "5-1 * * * *", "*/0 * * * *", "a b c d e", "0 0 * * *\n",
     "0,, 0 * * *", "* * * * " + "*," * 200 + "*"],
)  # fmt: skip
def test_refused(text: str) -> None:
    if text.endswith("\n"):
        assert cron.check(text) == "0 0 * * *", "blanks do not count"
        return
    with pytest.raises(ValueError, match=r"."):
        cron.check(text)


def test_moments() -> None:
    daily = "30 2 * * *"
    assert cron.following(daily, START) == datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
    assert cron.preceding(daily, START) == datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
    moments = list(cron.between(daily, START, START + timedelta(days=3)))
    assert [each.day for each in moments] == [22, 23, 24]


def _field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    spread = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(st.just("*") | spread, st.integers(1, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    term = number.map(str) | spread | stepped
    return st.just("*") | st.lists(term, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 7)).map(" ".join)
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@systemd
@settings(max_examples=15, deadline=None)
@given(EXPRESSIONS)
def test_systemd_finds_the_same_moments(expression: str) -> None:
    ours = list(islice(cron.between(cron.check(expression), START, START + timedelta(days=40 * 366)), 3))
    found: set[datetime] = set()
    for line in cron.on_calendar(cron.check(expression)):
        base = f"--base-time={START:%Y-%m-%d %H:%M:%S} UTC"
        shown = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=3", base, f"{line} UTC"],
            capture_output=True, text=True, check=True, timeout=30,
        ).stdout  # fmt: skip
        stamps = re.findall(r"(?:elapse|Iteration #\d+|Iter. #\d+): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", shown)
        found |= {datetime.strptime(each, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for each in stamps}
    assert sorted(found)[:3] == ours
