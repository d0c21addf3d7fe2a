"""Which snapshots stay: pure rules over what a repository holds.

The counting is that of Proxmox Backup Server (docs, "Prune Simulator"): rules are applied from the finest to the
coarsest, each keeps the newest snapshot of as many periods as it says, and a period that a finer rule already covers is
not counted again. Weeks are those of ISO 8601. Times are the snapshots' own; ``now`` only tells what lies ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby

from novafleet.model.backup import Snapshot
from novafleet.model.policy import Keep

TOLERANCE = 300.0
"""Seconds a snapshot may be ahead of our clock before it counts as from the future."""
PERIODS: tuple[tuple[str, str], ...] = (
    ("hourly", "%Y-%m-%d %Hh"),
    ("daily", "%Y-%m-%d"),
    ("weekly", "%G-W%V"),
    ("monthly", "%Y-%m"),
    ("yearly", "%Y"),
)
"""Rule and the name of its period (strftime); equal names are one period."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Does a snapshot stay, and why; a snapshot that goes has no reasons to stay."""

    snapshot: Snapshot
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Protection:
    """What no rule may forget: ``held`` maps snapshot ids to why, ``verified`` are ids that were proven to restore,
    ``tags`` keep every snapshot that has one of them."""

    held: Mapping[str, str]
    verified: Collection[str] = ()
    tags: Collection[str] = ()


def decide(
    snapshots: Iterable[Snapshot], keep: Keep, protection: Protection, *, now: float, zone: tzinfo = UTC
) -> tuple[Verdict, ...]:
    """A verdict for each snapshot, by VM and then newest first.

    A snapshot from the future stays and takes nobody's place: a clock that was wrong once, or an attacker's snapshots,
    cannot push good ones out. Of each VM the newest snapshot stays, and the newest verified one.
    """
    ordered = sorted(snapshots, key=lambda each: (_vm(each), -each.at, each.id))
    verdicts: list[Verdict] = []
    for _, group in groupby(ordered, key=_vm):
        verdicts += _of_one_vm(list(group), keep, protection, now, zone)
    return tuple(verdicts)


def _vm(snapshot: Snapshot) -> str:
    return snapshot.uuid or f"{snapshot.environment}/{snapshot.vm}"


def _of_one_vm(
    newest_first: Sequence[Snapshot], keep: Keep, protection: Protection, now: float, zone: tzinfo
) -> list[Verdict]:
    reasons: dict[str, list[str]] = {each.id: [] for each in newest_first}
    counted = [each for each in newest_first if each.at <= now + TOLERANCE]
    for each in newest_first[: len(newest_first) - len(counted)]:
        reasons[each.id].append("it is dated in the future")
    _count(counted, keep, reasons, zone)
    _protect(newest_first, counted, protection, reasons)
    if keep == Keep():
        for each in newest_first:
            reasons[each.id].append("the policy keeps everything")
    return [Verdict(each, bool(reasons[each.id]), tuple(reasons[each.id])) for each in newest_first]


def _count(counted: Sequence[Snapshot], keep: Keep, reasons: dict[str, list[str]], zone: tzinfo) -> None:
    for each in counted[: keep.last]:
        reasons[each.id].append("last")
    for rule, pattern in PERIODS:
        _periods(counted, getattr(keep, rule), _name(pattern, zone), rule, reasons)
    for each in counted:
        if keep.within and counted[0].at - each.at <= keep.within:
            reasons[each.id].append("within")


def _periods(
    counted: Sequence[Snapshot],
    wanted: int,
    name: Callable[[Snapshot], str],
    rule: str,
    reasons: dict[str, list[str]],
) -> None:
    covered = {name(each) for each in counted if reasons[each.id]}
    for each in counted:
        period = name(each)
        if period in covered:
            continue
        if wanted <= 0:
            return
        wanted -= 1
        covered.add(period)
        reasons[each.id].append(f"{rule} {period}")


def _name(pattern: str, zone: tzinfo) -> Callable[[Snapshot], str]:
    return lambda each: datetime.fromtimestamp(max(each.at, 0.0), zone).strftime(pattern)


def _protect(
    newest_first: Sequence[Snapshot],
    counted: Sequence[Snapshot],
    protection: Protection,
    reasons: dict[str, list[str]],
) -> None:
    reasons[(counted or newest_first)[0].id].append("the newest of its VM")
    proven = next((each for each in counted if each.id in protection.verified), None)
    if proven is not None:
        reasons[proven.id].append("the newest verified one of its VM")
    for each in newest_first:
        reasons[each.id] += [f"tag {tag}" for tag in each.tags if tag in protection.tags]
        if each.id in protection.held:
            reasons[each.id].append(f"hold: {protection.held[each.id] or 'no reason given'}")
