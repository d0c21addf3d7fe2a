"""Order, targets and cycles of a plan."""

from __future__ import annotations

import pytest

from novafleet.errors import ConfigError
from novafleet.model.plan import Change, Impact, Plan, ResourceChange, Step, StepClass
from novafleet.plan.graph import check_acyclic, counts, data_loss, hosts, restrict, tree_order


def step(name: str, *after: str, host: str = "kvm1", check: bool = False) -> Step:
    return Step(name, "none", name.rpartition("/")[0], host, StepClass.CONVERGENT, after=after, check=check)


def change(address: str, *steps: Step, symbol: Change = Change.CREATE, host: str = "kvm1") -> ResourceChange:
    kind, _, name = address.partition(".")
    return ResourceChange(address, kind, name.partition("@")[0], host, symbol, steps=steps)


CHAIN = Plan(
    "dev",
    "up",
    (
        change("network.lab@kvm1", step("network.lab@kvm1/apply")),
        change("vm.db", step("vm.db/start", "network.lab@kvm1/apply")),
        change("vm.web", step("vm.web/start", "vm.db/start", host="kvm2"), host="kvm2"),
        change("vm.lonely", step("vm.lonely/start", host="kvm3", check=True), host="kvm3", symbol=Change.NONE),
    ),
)


def test_tree_reads_by_kind_then_name() -> None:
    mixed = (change("vm.b"), change("stack.a"), change("network.z@kvm1"), change("vm.a"))
    assert [each.address for each in tree_order(mixed)] == ["network.z@kvm1", "vm.a", "vm.b", "stack.a"]


def test_a_target_brings_what_it_needs() -> None:
    kept = restrict(CHAIN, ("vm.db",))
    assert [each.address for each in kept.changes] == ["network.lab@kvm1", "vm.db"]


def test_a_target_may_leave_out_the_host() -> None:
    assert [each.address for each in restrict(CHAIN, ("network.lab",)).changes] == ["network.lab@kvm1"]


def test_an_unknown_target_names_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        restrict(CHAIN, ("vm.nope",))
    assert caught.value.code == "NF-PLAN-011"
    assert "vm.db" in caught.value.hints[0]


def test_a_cycle_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        check_acyclic((step("a", "b"), step("b", "a")))
    assert caught.value.code == "NF-CFG-040"
    assert "a -> b" in caught.value.cause or "b -> a" in caught.value.cause


def test_a_step_outside_the_plan_is_satisfied() -> None:
    check_acyclic((step("a", "elsewhere"),))


def test_only_hosts_that_change_are_leased() -> None:
    assert hosts(CHAIN) == ("kvm1", "kvm2")


def test_counts_and_losses() -> None:
    lost = ResourceChange("volume.db.root", "volume", "db.root", "kvm1", Change.DELETE, Impact.DATA_LOSS)
    plan = Plan("dev", "up", (*CHAIN.changes, lost))
    assert counts(plan) == {"add": 3, "change": 0, "replace": 0, "destroy": 1}
    assert data_loss(plan) == (lost,)
