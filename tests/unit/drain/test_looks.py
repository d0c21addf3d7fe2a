"""A plan's moves are looked at one by one: who cannot go where it should gets another host, or stays."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app.convoy import Looked, Travel
from novafleet.app.drain import MEMORY, TRIES, Order, _looked_at
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Dossier, Finding, Mode, Move, Path, Severity
from novafleet.placement.evacuate import replay
from novafleet.placement.problem import PlannedMove
from tests.unit.placement.fleets import fleet, guest, site


class Looks:
    """Finds what it was told of a guest on a host; ``made`` counts."""

    def __init__(self, obstacles: Mapping[tuple[str, str], str]) -> None:
        self.obstacles, self.looked, self.made = obstacles, Looked(), list[tuple[str, str]]()

    async def dossier(self, move: PlannedMove, known: Mapping[str, HostFacts]) -> Dossier:
        del known
        self.made.append((move.guest, move.destination))
        code = self.obstacles.get((move.guest, move.destination), "")
        findings = (Finding(Severity.BLOCKER, code, "no", "mend it"),) if code else ()
        ladder = () if code else (Mode.LIVE,)
        ends = (move.source, move.destination)
        return Dossier(Move("j", "vm", "vm", "u", "", *ends, True, ladder, Path.AUTO, ""), findings, ())


@pytest.mark.parametrize("others", [5, 20])
async def test_a_guest_that_no_host_can_take_stays_however_many_there_are(others: int) -> None:
    names = [f"h{n}" for n in range(others)]
    problem = fleet([site("a"), *map(site, names)], [guest("a", "bound"), guest("a", "free")])
    looks = Looks({("a/bound", name): "NF-MIG-340" for name in names})
    plan = await _looked_at(cast(Travel, looks), problem, Order((), "a"), {}, None)
    assert [move.guest for move in plan.moves] == ["a/free"]
    [bound] = plan.unmovable
    assert (bound.code, bound.hosts.keys()) == ("NF-MIG-340", set(names))
    assert len(looks.made) == len(set(looks.made)), "nothing is looked at twice"
    assert len([name for name, _ in looks.made if name == "a/bound"]) == min(others, TRIES)


async def test_memory_that_another_move_makes_free_is_not_missed() -> None:
    sites = (site("a"), site("b", 2), site("c", 6))
    guests = [guest("a", "large", 8), guest("b", "small", 6), guest("c", "other", 2, stuck="has a disk of its host")]
    problem = fleet(sites, guests)
    looks: Any = Looks({("a/large", "b"): MEMORY})
    plan = await _looked_at(looks, problem, Order((), "a"), {}, None)
    assert [move.guest for move in plan.moves] == ["b/small", "a/large"]
    assert replay(problem, plan.moves) == []


async def test_who_was_not_asked_is_not_looked_at() -> None:
    looks: Any = SimpleNamespace(looked=Looked())
    plan = await _looked_at(
        looks, fleet((site("a"), site("b")), [guest("a", "vm")]), Order((), "a", look=False), {}, None
    )
    assert len(plan.moves) == 1
