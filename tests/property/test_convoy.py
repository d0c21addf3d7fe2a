"""Whatever ends first, and whatever fails: moves that go on at once never break a rule, nor fill a host too much."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.placement.board import KEPT, SLACK, Board
from novafleet.placement.evacuate import evacuate
from novafleet.placement.order import Convoy
from novafleet.placement.problem import PlannedMove, Problem
from novafleet.placement.rebalance import Aim, rebalance
from tests.property.test_placement import problems

CHOICES = st.lists(st.integers(0, 99), min_size=1, max_size=60)


@given(problems(), CHOICES)
@settings(max_examples=300, deadline=None)
def test_a_drain_under_way_breaks_no_rule_at_any_moment(problem: Problem, choices: Sequence[int]) -> None:
    carry_out(problem, evacuate(problem, [problem.sites[0].name]).moves, choices)


@given(problems(), CHOICES)
@settings(max_examples=300, deadline=None)
def test_rebalancing_under_way_breaks_no_rule_at_any_moment(problem: Problem, choices: Sequence[int]) -> None:
    carry_out(problem, rebalance(problem, Aim(moves=20)).moves, choices)


def carry_out(problem: Problem, moves: Sequence[PlannedMove], choices: Sequence[int]) -> None:
    """Two of a host at once, ended in any order, one in four failing. A guest under way is on both hosts."""
    convoy, board, under_way = Convoy(moves, lambda _: True), Board(problem), list[int]()
    for turn in range(2 * len(moves)):
        while (index := convoy.next()) is not None:
            under_way.append(index)
            arrive(board, moves, index, under_way)
        if not under_way:
            break
        choice = choices[turn % len(choices)]
        ended = under_way.pop(choice % len(under_way))
        ok = choice % 4 != 3
        leave(board, moves[ended], ok=ok)
        convoy.ended(ended, ok=ok)


def arrive(board: Board, moves: Sequence[PlannedMove], index: int, under_way: Sequence[int]) -> None:
    move = moves[index]
    v, host = board.guest[move.guest], board.site[move.destination]
    board.free[host] -= board.need[v]
    assert (board.free[host] + SLACK >= 0).all(), f"{move} has no room: {moves}"
    alone = v not in board.partners
    meets = {board.guest[moves[each].guest] for each in under_way if moves[each].destination == move.destination}
    places = [(w, int(board.where[w])) for w in range(len(board.where))] + [(w, host) for w in meets]
    met = [w for w, there in places if board.clash(v, w, there, host)]
    new = [w for w in met if not board.clash(v, w, int(board.where[w]), int(board.where[v]))]
    assert not (alone and new), f"{move} meets {new}: {moves}"


def leave(board: Board, move: PlannedMove, *, ok: bool) -> None:
    v, host = board.guest[move.guest], board.site[move.destination]
    kept = KEPT if ok else None
    board.free[board.where[v] if ok else host, :kept] += board.need[v, :kept]
    board.where[v] = host if ok else board.where[v]
