"""Outlooks: hosts that fail, are emptied or join."""

from __future__ import annotations

from novafleet.placement.evacuate import evacuate
from novafleet.placement.problem import Obstacle
from novafleet.placement.rebalance import Aim
from novafleet.placement.whatif import added, drained, lost
from tests.unit.placement.fleets import GIB, fleet, guest, site


def test_a_host_that_fails_takes_down_what_is_bound_to_it() -> None:
    guests = [
        guest("a", "vm", cpu_class="x"),
        guest("a", "bound", stuck="has a device of its host"),
        guest("a", "off", running=False),
    ]
    problem = fleet((site("a"), site("b", cpu_class="y")), guests, live=True)
    seen = lost(problem, "a")
    assert [move.guest for move in seen.moves] == ["a/vm"]
    assert [each.guest for each in seen.homeless] == ["a/bound"]
    assert (seen.memory_before, seen.memory_after) == ((136 * GIB, 128 * GIB), (64 * GIB, 60 * GIB))
    assert [each.code for each in drained(problem, "a").homeless if each.guest == "a/vm"] == ["NF-PLACE-014"]


def test_what_the_rest_could_not_lose_is_said() -> None:
    problem = fleet((site("a", 40), site("b", 40), site("c", 0)), [guest("a", "one", 30), guest("b", "two", 30)])
    assert drained(problem, "a").unspared.startswith("without b there would be no room for 2 guests")
    assert drained(problem, "c").unspared == ""


def test_a_host_that_joins_takes_load() -> None:
    problem = fleet((site("a"), site("b")), [guest(host, f"vm{n}", cpu=6.0) for host in "ab" for n in range(4)])
    seen = added(problem, site("new"), Aim())
    assert {move.destination for move in seen.moves} == {"new"}
    assert (seen.before.peak, seen.after.peak) == (0.75, 0.5625)


def test_what_was_found_by_looking_keeps_a_guest_from_a_host() -> None:
    found = {"a/vm": {"b": Obstacle("NF-MIG-311", "knows no such machine", "virsh edit vm")}}
    problem = fleet((site("a"), site("b"), site("c", 0)), [guest("a", "vm")], forbidden=found)
    [vm] = evacuate(problem, ["a"]).unmovable
    assert vm.hosts == {"b": "knows no such machine", "c": "lacks 4096 MiB of memory"}
    alone = fleet((site("a"), site("b")), [guest("a", "vm")], forbidden=found)
    [vm] = evacuate(alone, ["a"]).unmovable
    assert (vm.code, vm.fix) == ("NF-MIG-311", "virsh edit vm")
