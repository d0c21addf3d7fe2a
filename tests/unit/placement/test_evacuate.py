"""Draining: where guests go, who stays and why, and what is proven."""

from __future__ import annotations

import pytest

from novafleet.placement import exact
from novafleet.placement.evacuate import evacuate, moved, place, replay, unspared
from novafleet.placement.problem import Apart, Plan, PlannedMove, Problem
from tests.unit.placement.fleets import GIB, fleet, guest, site

THREE = (site("a"), site("b"), site("c"))


def goes(plan: Plan) -> dict[str, str]:
    return {move.guest: move.destination for move in plan.moves}


def stays(plan: Plan) -> dict[str, str]:
    return {each.guest: each.code for each in plan.unmovable}


def test_guests_are_spread_over_the_emptiest_hosts() -> None:
    problem = fleet(THREE, [guest("a", f"vm{n}", 8) for n in range(6)])
    plan = evacuate(problem, ["a"])
    assert sorted(goes(plan).values()) == ["b", "b", "b", "c", "c", "c"]
    assert (plan.proof.verdict, replay(problem, plan.moves)) == ("feasible", [])


def test_the_most_important_goes_first_then_the_largest() -> None:
    guests = [guest("a", "small", 1), guest("a", "large", 8), guest("a", "vital", 2, priority=5)]
    assert [move.guest for move in evacuate(fleet(THREE, guests), ["a"]).moves] == ["a/vital", "a/large", "a/small"]


@pytest.mark.parametrize(
    ("unlike", "code", "words"),
    [
        ({"stuck": "has the host device pci 0000:03:00.0"}, "NF-PLACE-010", "pci 0000:03:00.0"),
        ({"networks": ("dmz",)}, "NF-PLACE-011", "b has no dmz"),
        ({"disks": {"fast": GIB}}, "NF-PLACE-012", "b has no pool fast"),
        ({"memory": 500 * GIB}, "NF-PLACE-013", "MiB of memory"),
        ({"pinned": 2}, "NF-PLACE-013", "lacks 2 of pinned CPUs"),
        ({"disks": {"default": 2000 * GIB}}, "NF-PLACE-013", "of default"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_who_cannot_go_is_named_with_the_reason_and_the_rest_goes(
    unlike: dict[str, object], code: str, words: str
) -> None:
    plan = evacuate(fleet(THREE, [guest("a", "odd", **unlike), guest("a", "ordinary")]), ["a"])  # type: ignore[arg-type]
    assert (goes(plan).keys(), stays(plan)) == ({"a/ordinary"}, {"a/odd": code})
    [odd] = plan.unmovable
    assert words in odd.why
    assert odd.fix
    assert plan.proof.verdict == "impossible"


def test_another_cpu_matters_only_to_who_must_stay_alive() -> None:
    sites, guests = (site("a"), site("b", cpu_class="other")), [guest("a", "vm")]
    assert goes(evacuate(fleet(sites, guests), ["a"])) == {"a/vm": "b"}
    assert stays(evacuate(fleet(sites, guests, live=True), ["a"])) == {"a/vm": "NF-PLACE-014"}


def test_closed_hosts_take_nobody() -> None:
    sites = (site("a"), site("b", closed="is in maintenance"))
    [vm] = evacuate(fleet(sites, [guest("a", "vm")]), ["a"]).unmovable
    assert (vm.code, vm.why) == ("NF-PLACE-016", "b is in maintenance")


def test_those_kept_apart_stay_apart_by_host_and_by_zone() -> None:
    racks = (site("a", zone="1"), site("b", zone="1"), site("c", zone="2"), site("d", zone="2"))
    guests = [guest("a", "db1"), guest("b", "db2")]
    apart = Apart(("a/db1", "b/db2"), zone=True)
    plan = evacuate(fleet(racks, guests, apart=(apart,)), ["a"])
    assert goes(plan)["a/db1"] in ("c", "d")
    only = (Apart(("a/db1", "b/db2")),)
    assert stays(evacuate(fleet(racks[:2], guests, apart=only), ["a"])) == {"a/db1": "NF-PLACE-015"}


def test_those_kept_together_go_together_or_not_at_all() -> None:
    sites = (site("a"), site("b", 12), site("c", 20))
    guests = [guest("a", "app", 8), guest("a", "cache", 8)]
    together = (("a/app", "a/cache"),)
    assert goes(evacuate(fleet(sites, guests, together=together), ["a"])) == {"a/app": "c", "a/cache": "c"}
    assert stays(evacuate(fleet(sites[:2], guests, together=together), ["a"])).keys() == {"a/app", "a/cache"}


def test_who_must_stay_with_one_that_stays_is_told_so() -> None:
    guests = [guest("a", "app"), guest("a", "cache", stuck="has the TPM of its host")]
    plan = evacuate(fleet(THREE, guests, together=(("a/app", "a/cache"),)), ["a"])
    [app] = [each for each in plan.unmovable if each.guest == "a/app"]
    assert (app.code, app.why) == ("NF-PLACE-015", "must stay with a/cache, which stays: has the TPM of its host")


def test_room_is_made_by_moving_one_other_guest_and_the_order_says_so() -> None:
    sites = (site("a"), site("b", 2), site("c", 6))
    guests = [guest("a", "large", 8), guest("b", "small", 6), guest("c", "other", 2, stuck="has a disk of its host")]
    problem = fleet(sites, guests)
    plan = evacuate(problem, ["a"])
    room, large = plan.moves
    assert (room.guest, room.destination, room.why) == ("b/small", "c", "room")
    assert (large.guest, large.destination, large.after) == ("a/large", "b", (0,))
    assert replay(problem, plan.moves) == []


def test_room_is_not_made_on_a_host_that_promised_too_much() -> None:
    sites = (site("a"), site("b", -10), site("c", 8))
    problem = fleet(sites, [guest("a", "large", 9), guest("b", "small", 8)])
    [large] = evacuate(problem, ["a"]).unmovable
    assert (large.code, large.why) == ("NF-PLACE-013", "b lacks 19456 MiB of memory; c lacks 1024 MiB of memory")


def test_a_guest_that_is_off_goes_to_a_host_that_promised_too_much() -> None:
    problem = fleet((site("a"), site("b", -10)), [guest("a", "off", 0, running=False)])
    assert goes(evacuate(problem, ["a"])) == {"a/off": "b"}


def test_a_guest_that_leaves_makes_no_room_in_the_pool_that_keeps_its_disks() -> None:
    sites = (site("a"), site("b", pools={"default": 10 * GIB}), site("c", pools={"default": 20 * GIB}))
    problem = fleet(sites, [guest("a", "large", disks={"default": 30 * GIB}), guest("c", "small")])
    plan = evacuate(problem, ["a"])
    assert (plan.moves, stays(plan)) == ((), {"a/large": "NF-PLACE-013"})
    left = {each.name: each.pools["default"] // GIB for each in moved(problem, _to_b(problem)).sites}
    assert left == {"a": 1000, "b": 0, "c": 20}


def _to_b(problem: Problem) -> list[PlannedMove]:
    return [PlannedMove("c/small", "c", "b", problem.guests[1].bytes)]


def test_all_who_use_the_room_that_was_made_wait_for_it() -> None:
    sites = (site("a"), site("b", 3), site("c", 7))
    guests = [guest("a", "large", 8), guest("a", "next", 2), guest("b", "small", 7)]
    plan = evacuate(fleet(sites, guests), ["a"])
    assert [(move.guest, move.destination, move.after) for move in plan.moves] == [
        ("b/small", "c", ()),
        ("a/large", "b", (0,)),
        ("a/next", "b", (0,)),
    ]


def test_a_guest_waits_until_the_one_it_must_not_meet_has_left_the_rack() -> None:
    sites = (
        site("a", zone="1"),
        site("b", 6, zone="2"),
        site("d", 2, zone="1"),
        site("e", 1, zone="3", networks=("lan", "dmz")),
    )
    guests = [
        guest("a", "db1", 1, priority=5, networks=("dmz",)),
        guest("a", "large", 8),
        guest("b", "db2", 2),
    ]
    apart = (Apart(("a/db1", "b/db2"), zone=True),)
    plan = evacuate(fleet(sites, guests, apart=apart), ["a"])
    assert [(move.guest, move.destination, move.after) for move in plan.moves] == [
        ("a/db1", "e", ()),
        ("b/db2", "d", (0,)),
        ("a/large", "b", (1,)),
    ]


def test_a_bound_that_is_broken_is_a_proof() -> None:
    plan = evacuate(fleet((site("a"), site("b", 10), site("c", 9)), [guest("a", f"vm{n}", 7) for n in range(3)]), ["a"])
    assert (plan.proof.verdict, len(plan.moves)) == ("impossible", 2)
    assert "7168 MiB" in plan.proof.text


@pytest.mark.parametrize(
    ("free", "sizes"),
    [((13, 14), (8, 5, 3, 7, 2)), ((14, 8), (5, 6, 6))],
    ids=["the one it must not meet took the other host", "or the only other one with room"],
)
def test_where_others_were_put_is_no_proof(free: tuple[int, int], sizes: tuple[int, ...]) -> None:
    guests = [guest("a", f"vm{n}", size) for n, size in enumerate(sizes)]
    apart = (Apart(("a/vm2", "a/vm0")) if len(sizes) > 3 else Apart(("a/vm1", "a/vm0")),)
    problem = fleet((site("a"), site("b", free[0]), site("c", free[1])), guests, apart=apart)
    assert evacuate(problem, ["a"]).proof.verdict != "impossible"
    if exact.available():
        assert evacuate(problem, ["a"], exact.solve).proof.verdict == "feasible"


TIGHT = fleet(
    (site("a"), site("b", 10), site("c", 10)),
    [guest("a", f"vm{n}", size) for n, size in enumerate((6, 5, 5, 4))],
)


def test_an_exact_search_finds_what_the_quick_one_may_not() -> None:
    """6 + 4 and 5 + 5: largest first puts 6 and 5 apart, and the second 5 with the first."""
    if not exact.available():
        pytest.skip("needs novafleet[planner]: OR-Tools is not installed")
    plan = evacuate(TIGHT, ["a"], exact.solve)
    assert (plan.proof.verdict, len(plan.moves), replay(TIGHT, plan.moves)) == ("feasible", 4, [])


def test_an_exact_search_proves_that_there_is_none() -> None:
    if not exact.available():
        pytest.skip("needs novafleet[planner]: OR-Tools is not installed")
    problem = fleet((site("a"), site("b", 9), site("c", 9)), [guest("a", f"vm{n}", 6) for n in range(3)])
    plan = evacuate(problem, ["a"], exact.solve)
    assert (plan.proof.verdict, len(plan.moves)) == ("impossible", 2)


def test_an_exact_answer_is_used_and_none_leaves_what_was_found() -> None:
    problem = fleet((site("a"), site("b", 9), site("c", 9)), [guest("a", f"vm{n}", 6) for n in range(3)])
    assert evacuate(problem, ["a"], lambda board, units: None).proof.verdict == "not-found"
    assert evacuate(problem, ["a"], lambda board, units: False).proof.verdict == "impossible"


def test_guests_are_brought_home() -> None:
    sites = (site("a"), site("b", closed="x"), site("c", closed="x"))
    plan = place(fleet(sites, [guest("b", "vm"), guest("c", "other")]), ["b/vm"], "home")
    assert [(move.guest, move.destination, move.why) for move in plan.moves] == [("b/vm", "a", "home")]


def test_what_the_fleet_could_not_lose() -> None:
    problem = fleet(THREE, [guest("a", "vm1", 40), guest("b", "vm2", 40)])
    assert unspared(problem, 1) == ""
    assert unspared(moved(problem, evacuate(problem, ["a"]).moves), 0) == ""
    full: Problem = fleet((site("a", 8), site("b", 8)), [guest("a", "vm1", 40)])
    assert unspared(full, 1) == "without a there would be no room for 1 guests: a/vm1, …"


def test_a_host_with_less_but_larger_guests_is_not_lost_easily() -> None:
    many = [guest("a", f"vm{n}", 4) for n in range(10)]
    problem = fleet((site("a", 20), site("b", 20), site("c", 20)), [*many, guest("b", "huge", 30)])
    assert unspared(problem, 1) == "without b there would be no room for 1 guests: b/huge, …"
    assert unspared(problem, 2).startswith("without a, b there would be no room for ")


def test_the_fleet_after_a_plan_has_the_room_that_is_left() -> None:
    problem = fleet(THREE, [guest("a", "vm", 4)])
    after = moved(problem, evacuate(problem, ["a"]).moves)
    free = {each.name: each.free // GIB for each in after.sites}
    assert (free["a"], sorted(free.values())) == (68, [60, 64, 68])
    assert after.guests[0].host in ("b", "c")
