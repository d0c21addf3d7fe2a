"""Drains, rebalancing, what-if and jobs, as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.app.drain import Drained
from novafleet.app.maintenance import Maintenance
from novafleet.placement.problem import PlannedMove
from novafleet.report import drain, job, whatif
from tests.unit.report import drains


def told(capsys: pytest.CaptureFixture[str]) -> str:
    found = capsys.readouterr()
    return " ".join((found.err + found.out).split())


def test_a_plan_says_who_stays_first(capsys: pytest.CaptureFixture[str]) -> None:
    drain.plan(drains.DRAFTED, "table")
    text = told(capsys)
    assert "error[NF-PLACE-011] kvm2/fw: stays: kvm1 has no network dmz hint: make it" in text
    assert "stays: the stack edge" in text
    assert "kvm2/devlab-db kvm1 9,216 MiB 10 - live drain" in text
    assert "impossible: as things are no host can take kvm2/fw; fullest host kvm1 61% -> kvm1 74%" in text
    assert "waiting for their window (--now: go anyway): kvm2/devlab-db" in text


def test_what_became_of_it_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    drain.drained(drains.DRAINED, "table")
    text = told(capsys)
    assert "✓ kvm2/devlab-db -> kvm1 live by tunnel, 7.1 s" in text
    assert "… kvm2/ci -> kvm1 waiting" in text
    assert "novafleet resume 20261121T083008-c366" in text
    assert int(drains.DRAINED.exit_code) == 3


def test_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    drain.maintenance(Maintenance("kvm2", True, "since then"), "table")
    drain.weighed(drains.WEIGHED, "table")
    drain.balanced(drains.BALANCED, "table")
    whatif.show(drains.ANSWER, "table")
    job.show_list((drains.JOB,), "table")
    text = told(capsys)
    assert "kvm2 is in maintenance: since then" in text
    assert "1 started again, 1 without a host" in text
    assert "memory left: 96.0 of 192.0 GiB" in text
    assert "then any one host could fail" in text
    assert "host drain kvm2 killed 0/1" in text


def test_who_makes_room_is_not_counted_among_those_started_again(capsys: pytest.CaptureFixture[str]) -> None:
    room = PlannedMove("kvm3/ci", "kvm3", "kvm1", 1, why="room")
    outlook = replace(drains.OUTLOOK, moves=(room, *drains.OUTLOOK.moves))
    whatif.show(replace(drains.ANSWER, outlook=outlook), "table")
    text = told(capsys)
    assert "kvm3/ci -> kvm1 (room)" in text
    assert "1 started again (1 others moved to make room), 1 without a host" in text


def test_nothing_moves_is_not_nothing_has_to(capsys: pytest.CaptureFixture[str]) -> None:
    drain.drained(Drained(drains.DRAFTED), "table")
    assert "nothing can be moved" in told(capsys)
    empty = replace(drains.DRAFTED, plan=replace(drains.DRAFTED.plan, unmovable=()))
    drain.drained(Drained(empty), "table")
    assert "nothing has to move" in told(capsys)
