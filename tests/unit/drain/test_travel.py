"""A run of moves: what waits, what is skipped, and how it ends. The moves themselves are ``migrate``'s."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app.context import Emit
from novafleet.app.convoy import FRESH, Looked, Moved, Travel, Travelled, Wish, begin, ordered
from novafleet.app.drain import Order as DrainOrder
from novafleet.app.rebalance import Order as BalanceOrder
from novafleet.app.terms import Governing, Terms
from novafleet.app.wiring import SystemClock, World
from novafleet.errors import ExitCode
from novafleet.execute.cancel import Stage
from novafleet.model.migration import Dossier
from novafleet.model.policies import Policies
from novafleet.model.policy import Window
from novafleet.placement.problem import Load, Plan, PlannedMove, Proof, Rules
from novafleet.store.journal import Journal

NOWHERE = Load(0.0, "", 0.0)


class Made(Travel):
    """Moves that end as told, and note how many were under way together."""

    ends: Mapping[str, str]
    together: list[int]
    begun: list[str]

    async def _one(self, move: PlannedMove, emit: Emit) -> Moved:
        self.begun.append(move.guest)
        self.together.append(len(self._tasks))
        await asyncio.sleep(0)
        if self.ends.get(move.guest) == "stop":
            self.cancellation.request("enough", Stage.STOP)
        state = self.ends.get(move.guest, "done").replace("stop", "done")
        return Moved(move.guest, move.source, move.destination, state)


@contextmanager
def watch(_total: int) -> Iterator[Emit]:
    yield lambda _event: None


def move(name: str, destination: str = "b", after: tuple[int, ...] = ()) -> PlannedMove:
    return PlannedMove(name, "a", destination, 1, after=after)


async def travel(
    *moves: PlannedMove, ends: Mapping[str, str] | None = None, terms: Mapping[str, Terms] | None = None, **wish: Any
) -> tuple[Travelled, Made]:
    policies = {name: Policies(per_host=2, per_link=1) for name in "abc"}
    known = {each.guest: (terms or {}).get(each.guest, Terms()) for each in moves}
    world = cast(World, SimpleNamespace(clock=SystemClock()))
    made = Made(world, cast(Journal, None), (), "r1", Governing(known, policies, Rules()), Wish(**wish))
    made.ends, made.together, made.begun = ends or {}, [], []
    return await made.go(Plan(moves, (), Proof("feasible", ""), NOWHERE, NOWHERE), watch), made


def states(found: Travelled) -> list[str]:
    return [each.state for each in found.moves]


async def test_all_arrive_within_the_places_there_are() -> None:
    found, made = await travel(move("1"), move("2"), move("3", "c"), move("4", "c"))
    assert (states(found), found.exit_code) == (["done"] * 4, ExitCode.OK)
    assert made.begun[:2] == ["1", "3"], "one to each host: a link carries one"
    assert max(made.together) <= 2


async def test_more_at_once_when_asked_for() -> None:
    found, made = await travel(move("1"), move("2"), move("3", "c"), per_host=1)
    assert (states(found), made.begun) == (["done"] * 3, ["1", "2", "3"])


async def test_one_that_fails_costs_only_what_needs_its_room() -> None:
    found, _ = await travel(move("1"), move("2", "b", (0,)), move("3", "c"), ends={"1": "rolled-back"})
    assert (states(found), found.exit_code) == (["rolled-back", "skipped", "done"], ExitCode.PARTIAL)


async def test_a_closed_window_leaves_moves_for_later() -> None:
    never = Terms(windows=(Window(0, 1), Window(1, 2)))
    found, made = await travel(move("1"), move("2", "c"), terms={"1": never})
    assert (states(found), found.exit_code, made.begun) == (["waiting", "done"], ExitCode.PARTIAL, ["2"])
    found, _ = await travel(move("1"), terms={"1": never}, anytime=True)
    assert found.exit_code is ExitCode.OK


async def test_after_a_stop_none_begins() -> None:
    found, made = await travel(move("1"), move("2"), move("3"), ends={"1": "stop"})
    assert (states(found), made.begun) == (["done", "waiting", "waiting"], ["1"])
    assert (found.cancelled, found.exit_code) == (True, ExitCode.INTERRUPTED)


async def test_a_dossier_of_the_plan_is_used_once_while_it_is_young() -> None:
    clock = SystemClock()
    world, governing = cast(World, SimpleNamespace(clock=clock)), Governing({}, {}, Rules())

    def after(seconds: float, ladder: tuple[str, ...] = ("live",)) -> Travel:
        dossiers = {("1", "b"): cast(Dossier, SimpleNamespace(move=SimpleNamespace(ladder=ladder)))}
        looked = Looked(clock.monotonic() - seconds, dossiers)
        return Travel(world, cast(Journal, None), (), "r1", governing, Wish(), looked)

    young = after(FRESH / 2)
    assert young._known(move("1", "c")) is None, "that goes elsewhere"
    assert young._known(move("1")) is not None
    assert young._known(move("1")) is None, "it is of one job"
    assert after(2 * FRESH)._known(move("1")) is None
    assert after(0, ())._known(move("1")) is None, "nothing was possible: it may be by now"


@pytest.mark.parametrize(
    ("found", "code"),
    [(("failed",), ExitCode.FAILED), (("done", "unclear"), ExitCode.PARTIAL), ((), ExitCode.OK)],
    ids=str,
)
def test_statuses(found: tuple[str, ...], code: ExitCode) -> None:
    assert Travelled("r", tuple(Moved("g", "a", "b", state) for state in found)).exit_code is code


@pytest.mark.parametrize(
    "order", [DrainOrder(("inventory",), "kvm2", "kvm", Wish(consent=("cdrom",))), BalanceOrder(())]
)
async def test_a_run_keeps_what_a_resume_needs(tmp_path: Path, order: DrainOrder | BalanceOrder) -> None:
    world = cast(World, SimpleNamespace(clock=SystemClock()))
    plan = Plan((move("a/1"), move("a/2")), (), Proof("feasible", ""), NOWHERE, NOWHERE)
    async with Journal(tmp_path / "journal.db") as journal:
        await begin(journal, world, "r1", "host drain", order, plan)
        run = await journal.run("r1")
    assert ordered(type(order), run) == order
    assert run.request["vms"] == ["a/1", "a/2"]
