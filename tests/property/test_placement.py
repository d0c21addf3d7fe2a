"""Whatever the fleet: every plan can be carried out move by move, and nobody is forgotten."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from novafleet.placement.board import Board
from novafleet.placement.evacuate import evacuate, moved, replay, unspared
from novafleet.placement.problem import Apart, Problem
from novafleet.placement.rebalance import Aim, rebalance
from tests.unit.placement.fleets import fleet, guest, site

NETWORKS = ("lan", "dmz")


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to six hosts in two racks with little room, up to 18 guests, rules between some."""
    names = "abcdef"[: draw(st.integers(1, 6))]
    sites = [
        site(
            name,
            draw(st.integers(0, 16)),
            zone=draw(st.sampled_from(("r1", "r2"))),
            networks=draw(st.sampled_from((NETWORKS, NETWORKS[:1]))),
            free_pinned=draw(st.integers(0, 2)),
            closed=draw(st.sampled_from(("", "", "", "is in maintenance"))),
        )
        for name in names
    ]
    guests = [
        guest(
            draw(st.sampled_from(names)),
            f"vm{n}",
            draw(st.integers(0, 8)),
            networks=(draw(st.sampled_from(NETWORKS)),),
            pinned=draw(st.sampled_from((0, 0, 1))),
            cpu=draw(st.floats(0, 12)),
            stuck=draw(st.sampled_from(("", "", "", "has a host device"))),
            priority=draw(st.integers(0, 2)),
        )
        for n in range(draw(st.integers(0, 18)))
    ]
    labels = [each.name for each in guests]
    some = st.lists(st.sampled_from(labels), min_size=2, max_size=4, unique=True) if len(labels) > 3 else st.just([])
    apart = [Apart(tuple(draw(some)), draw(st.booleans())) for _ in range(draw(st.integers(0, 2)))]
    here = [each.name for each in guests if each.host == names[0] and not any(each.name in a.members for a in apart)]
    together = [tuple(here[:2])] if len(here) > 1 and draw(st.booleans()) else []
    return fleet(sites, guests, apart=tuple(apart), together=tuple(together))


@given(problems())
@settings(max_examples=150, deadline=None)
def test_a_drain_can_be_carried_out_and_forgets_nobody(problem: Problem) -> None:
    first = problem.sites[0].name
    plan = evacuate(problem, [first])
    assert replay(problem, plan.moves) == []
    leaving = {each.name for each in problem.guests if each.host == first}
    left = {move.guest for move in plan.moves if move.why == "drain"}
    assert left | {each.guest for each in plan.unmovable} == leaving
    assert not left & {each.guest for each in plan.unmovable}
    assert (plan.proof.verdict == "feasible") == (not plan.unmovable)
    assert all(move.destination != first for move in plan.moves)
    assert len({move.guest for move in plan.moves}) == len(plan.moves), "nobody moves twice"


@st.composite
def tight(draw: st.DrawFn) -> Problem:
    """One host to empty into two or three with little room."""
    sites = [site(name, draw(st.integers(4, 14))) for name in "abcd"[: draw(st.integers(3, 4))]]
    guests = [guest("a", f"vm{n}", draw(st.integers(1, 8))) for n in range(draw(st.integers(2, 6)))]
    apart = (Apart(("a/vm0", "a/vm1")),) if draw(st.booleans()) else ()
    return fleet(sites, guests, apart=apart)


@given(tight())
@settings(max_examples=400, deadline=None)
@example(fleet((site("a"), site("b", 8), site("c", 9)), [guest("a", f"vm{n}", m) for n, m in enumerate((8, 5, 2, 2))]))
def test_a_drain_finds_what_filling_one_host_after_the_other_finds(problem: Problem) -> None:
    board = Board(problem)
    board.open[0] = False
    found = True
    for each in sorted(problem.guests, key=lambda each: (-each.memory, each.name)):
        mask = board.fits((board.guest[each.name],))
        found = found and bool(mask.any())
        board.move((board.guest[each.name],), int(mask.argmax()))
    assert not found or evacuate(problem, ["a"]).proof.verdict == "feasible"


@given(problems())
@settings(max_examples=150, deadline=None)
def test_a_drain_breaks_no_rule_that_held(problem: Problem) -> None:
    first = problem.sites[0].name
    before = _broken(problem)
    assert _broken(moved(problem, evacuate(problem, [first]).moves)) <= before


@given(problems())
@settings(max_examples=150, deadline=None)
def test_rebalancing_never_fills_the_fullest_host_more(problem: Problem) -> None:
    plan = rebalance(problem, Aim(moves=20))
    assert replay(problem, plan.moves) == []
    assert _broken(moved(problem, plan.moves)) <= _broken(problem)
    mended = {each for pair in _broken(problem) for each in pair}
    if not mended:
        assert plan.after.peak <= plan.before.peak


@given(problems())
@settings(max_examples=150, deadline=None)
def test_no_host_is_missed_that_the_fleet_could_not_lose(problem: Problem) -> None:
    for each in problem.sites:
        waiting = [one for one in evacuate(problem, [each.name]).unmovable if one.code == "NF-PLACE-013"]
        if waiting and not each.closed:
            assert unspared(problem, 1)


def _broken(problem: Problem) -> set[frozenset[str]]:
    """Pairs of guests that are where they must not be together."""
    board = Board(problem)
    host = {each.name: each.host for each in problem.guests}
    zone = {each.name: each.zone for each in problem.sites}
    found = set()
    for rule in board.rules.apart:
        for one in rule.members:
            for other in rule.members:
                same = host[one] == host[other] or (rule.zone and zone[host[one]] == zone[host[other]])
                if one != other and same:
                    found.add(frozenset((one, other)))
    return found
