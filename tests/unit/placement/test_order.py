"""Moves begin in order, after those that make room, within the places there are."""

from __future__ import annotations

from collections.abc import Iterator

from novafleet.placement.order import Convoy
from novafleet.placement.problem import PlannedMove


def move(name: str, destination: str = "b", source: str = "a", after: tuple[int, ...] = ()) -> PlannedMove:
    return PlannedMove(name, source, destination, 1, after=after)


def begun(convoy: Convoy) -> Iterator[int]:
    while (index := convoy.next()) is not None:
        yield index


def always(_index: int) -> bool:
    return True


def test_a_host_and_a_link_have_so_many_places() -> None:
    moves = [move("1"), move("2"), move("3", "c"), move("4", "c")]
    convoy = Convoy(moves, always, {"a": 3}, {("a", "b"): 1})
    assert list(begun(convoy)) == [0, 2, 3]
    convoy.ended(2, ok=True)
    assert list(begun(convoy)) == []
    convoy.ended(0, ok=True)
    assert list(begun(convoy)) == [1]
    assert convoy.waiting == ()


def test_who_needs_room_waits_for_it_and_is_lost_with_it() -> None:
    moves = [move("room", "c", "b"), move("large", "b", "a", (0,)), move("third", "b", "a", (1,)), move("other", "d")]
    convoy = Convoy(moves, always)
    assert list(begun(convoy)) == [0, 3]
    convoy.ended(0, ok=False)
    assert (convoy.doomed, convoy.waiting, list(begun(convoy))) == ([1, 2], (), [])


def test_a_closed_window_keeps_moves_waiting() -> None:
    opened = {1}
    convoy = Convoy([move("1"), move("2", "c")], opened.__contains__)
    assert (list(begun(convoy)), convoy.waiting) == ([1], (0,))
    opened.add(0)
    assert list(begun(convoy)) == [0]
