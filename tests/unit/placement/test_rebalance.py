"""Rebalancing: few moves, each worth it, none twice."""

from __future__ import annotations

from novafleet.placement.evacuate import moved, replay
from novafleet.placement.problem import Apart
from novafleet.placement.rebalance import Aim, rebalance
from tests.unit.placement.fleets import fleet, guest, simulated, site


def test_a_full_host_gives_to_an_empty_one() -> None:
    problem = fleet((site("a"), site("b")), [guest("a", f"vm{n}", cpu=6.0) for n in range(4)])
    plan = rebalance(problem, Aim())
    assert [(move.source, move.destination, move.why) for move in plan.moves] == [("a", "b", "balance")] * 2
    assert (plan.before.peak, plan.after.peak) == (0.75, 0.375)
    assert replay(problem, plan.moves) == []


def test_nothing_moves_within_the_tolerance_or_for_too_little() -> None:
    small = [guest("a", f"vm{n}", 1, cpu=0.2) for n in range(60)]
    problem = fleet((site("a", 400), site("b", 460)), small)
    assert rebalance(problem, Aim(tolerance=0.5)).moves == ()
    assert rebalance(problem, Aim(gain=0.05)).moves == ()
    assert rebalance(problem, Aim(tolerance=0.01, gain=0.005, moves=3)).moves != ()


def test_moves_are_few_and_cheap_ones_are_preferred() -> None:
    heavy = [guest("a", f"heavy{n}", cpu=6.0, disks={"default": 500 * 2**30}) for n in range(2)]
    light = [guest("a", f"light{n}", cpu=6.0, disks={"default": 2**30}) for n in range(2)]
    plan = rebalance(fleet((site("a"), site("b")), [*heavy, *light]), Aim(moves=1))
    assert [move.guest for move in plan.moves] == ["a/light0"]


def test_who_moved_lately_rests() -> None:
    problem = fleet((site("a"), site("b")), [guest("a", f"vm{n}", cpu=6.0) for n in range(4)])
    plan = rebalance(problem, Aim(), resting=["a/vm0", "a/vm1", "gone"])
    assert {move.guest for move in plan.moves} == {"a/vm2", "a/vm3"}


def test_a_broken_rule_is_mended_first() -> None:
    apart = (Apart(("a/db1", "a/db2")),)
    problem = fleet((site("a"), site("b")), [guest("a", "db1"), guest("a", "db2")], apart=apart)
    assert [move.destination for move in rebalance(problem, Aim()).moves] == ["b"]


def test_a_second_plan_has_nothing_to_do() -> None:
    problem = simulated(12, 60, hot=0.3)
    plan = rebalance(problem, Aim(moves=500))
    assert plan.moves
    assert replay(problem, plan.moves) == []
    assert plan.after.peak < plan.before.peak
    assert len(rebalance(moved(problem, plan.moves), Aim(moves=500)).moves) <= len(plan.moves) // 10


def test_the_same_fleet_gives_the_same_plan() -> None:
    assert rebalance(simulated(10, 10), Aim(moves=50)) == rebalance(simulated(10, 10), Aim(moves=50))
