"""Retention from a table of cases, and what must hold whatever the policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.model.backup import Consistency, Snapshot
from novafleet.model.policy import Keep
from novafleet.repository.retention import Protection, decide

CASES = yaml.safe_load((Path(__file__).parent / "retention.yaml").read_text())
NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()


def snapshot(at: float, vm: str = "vm", snapshot_id: str = "", tags: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(snapshot_id or f"{at:.0f}{vm}", vm, vm, f"uuid-{vm}", "kvm1", at, Consistency.CRASH, tags=tags)


def seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()


def parsed(text: str) -> Snapshot:
    day, hour, *rest = str(text).split()
    ids = [word[1:] for word in rest if word.startswith("=")]
    tags = tuple(word[1:] for word in rest if word.startswith("#"))
    names = [word for word in rest if word[0] not in "#="]
    return snapshot(seconds(f"{day} {hour}"), *(names or ["vm"]), snapshot_id="".join(ids), tags=tags)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    found = [parsed(text) for text in case["snapshots"]]
    protection = Protection(case.get("held", {}), case.get("verified", []), case.get("tags", []))
    now = seconds(case["now"]) if "now" in case else NOW
    verdicts = decide(found, Keep(**case["keep"]), protection, now=now)
    wanted = {(parsed(text).vm, parsed(text).at): tuple(reasons) for text, reasons in case["kept"].items()}
    assert {(each.snapshot.vm, each.snapshot.at): each.reasons for each in verdicts if each.keep} == wanted
    assert len(verdicts) == len(found)


def test_a_day_is_a_day_where_the_reader_lives() -> None:
    evening, midnight = seconds("2026-11-19 22:30"), seconds("2026-11-19 23:30")
    verdicts = decide(
        [snapshot(evening), snapshot(midnight)],
        Keep(daily=2),
        Protection({}),
        now=NOW,
        zone=timezone(timedelta(hours=1)),
    )
    assert [each.reasons[0] for each in verdicts] == ["daily 2026-11-20", "daily 2026-11-19"]


counts = st.integers(0, 4)
policies = st.builds(
    Keep, last=counts, hourly=counts, daily=counts, weekly=counts, monthly=counts, yearly=counts, within=st.just(0.0)
)
times = st.lists(st.integers(0, 2 * 365 * 24), min_size=1, max_size=40, unique=True)


@settings(max_examples=150, deadline=None)
@given(times, policies, st.integers(-2, 2))
def test_whatever_the_policy(hours: list[int], keep: Keep, days_off: int) -> None:
    """The newest stays, no rule keeps more than it says, and what the clock says deletes nothing of the future."""
    found = [snapshot(NOW - hour * 3600) for hour in hours]
    now = NOW + days_off * 86400
    verdicts = decide(found, keep, Protection({}), now=now)
    kept = [each for each in verdicts if each.keep]
    assert kept[0].snapshot.at == max(each.at for each in found)
    for rule in ("hourly", "daily", "weekly", "monthly", "yearly"):
        assert sum(reason.startswith(rule) for each in kept for reason in each.reasons) <= getattr(keep, rule)
    assert all(each.keep for each in verdicts if each.snapshot.at > now + 300)
    again = decide([each.snapshot for each in kept], keep, Protection({}), now=now)
    assert all(each.keep for each in again), "forgetting twice forgets no more"


BERLIN = ZoneInfo("Europe/Berlin")
BUCKETS: dict[str, Callable[[datetime], object]] = {
    "hourly": lambda at: (at.date(), at.hour),
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}
"""As restic's documentation of ``forget`` says them: the last snapshot of each of the last so many that have one."""
moments = st.lists(
    st.one_of(
        st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: NOW - minutes * 60),
        st.sampled_from([datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)]).flatmap(
            lambda night: st.integers(-90, 150).map(lambda minutes: night.timestamp() + minutes * 60)
        ),  # around the changes to and from summer time
        st.sampled_from([2020, 2021, 2024, 2026]).flatmap(
            lambda year: st.integers(-96, 96).map(lambda h: datetime(year, 1, 1, tzinfo=UTC).timestamp() + h * 3600)
        ),  # the year of a week is not that of its days
    ),
    min_size=1,
    max_size=40,
    unique=True,
)


def restic(times: list[float], rule: str, count: int) -> set[float]:
    """What one rule of restic's keeps, the naive way."""
    found: dict[object, float] = {}
    for at in sorted(times, reverse=True):
        found.setdefault(BUCKETS[rule](datetime.fromtimestamp(at, BERLIN)), at)
    return set(list(found.values())[:count])


def kept(times: list[float], keep: Keep) -> set[float]:
    verdicts = decide([snapshot(at) for at in times], keep, Protection({}), now=NOW, zone=BERLIN)
    return {each.snapshot.at for each in verdicts if each.keep}


@settings(max_examples=150, deadline=None)
@given(moments, st.sampled_from(sorted(BUCKETS)), st.integers(1, 6))
def test_one_rule_keeps_what_restic_keeps(times: list[float], rule: str, count: int) -> None:
    assert kept(times, Keep(**{rule: count})) == restic(times, rule, count)


@settings(max_examples=150, deadline=None)
@given(moments, policies.filter(lambda keep: keep != Keep()))
def test_several_rules_leave_no_period_out_that_restic_keeps(times: list[float], keep: Keep) -> None:
    ours = [datetime.fromtimestamp(at, BERLIN) for at in kept(times, keep)]
    assert set(sorted(times, reverse=True)[: keep.last]) <= kept(times, keep)
    for rule, bucket in BUCKETS.items():
        theirs = {bucket(datetime.fromtimestamp(at, BERLIN)) for at in restic(times, rule, getattr(keep, rule))}
        assert theirs <= {bucket(at) for at in ours}
