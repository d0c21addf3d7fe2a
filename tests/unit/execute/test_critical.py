"""The critical path of a run, in numbers and in words."""

from __future__ import annotations

from dataclasses import replace

from novafleet.execute.critical import critical_path, priorities, report
from novafleet.model.run import NodeResult, NodeState
from tests.unit.execute.world import step


def result(name: str, started: float, ended: float, label: str = "") -> NodeResult:
    return NodeResult(f"vm.{name}/start", f"vm.{name}", "kvm1", NodeState.DONE, started, ended, label=label)


def test_the_chain_that_made_the_run_long() -> None:
    steps = [step("db"), step("fast"), step("web", "db", "fast"), step("other")]
    results = [result("db", 0, 7, "cloud-init"), result("fast", 0, 1), result("web", 7.5, 10), result("other", 0, 9)]
    path = critical_path(steps, results)
    assert path == (("cloud-init", "vm.db", 7.0), ("start", "vm.web", 3.0))
    assert report(path) == (
        "critical path 10.0 s: db 7.0 s -> web 3.0 s",
        "db: cloud-init 7.0 s of 10.0 s",
        "web: start 3.0 s of 10.0 s",
    )


def test_a_failed_step_counts_and_a_skipped_one_does_not() -> None:
    steps = [step("db"), step("web", "db")]
    failed = replace(result("db", 0, 4), state=NodeState.FAILED)
    skipped = replace(result("web", 4, 4), state=NodeState.SKIPPED)
    assert critical_path(steps, [failed, skipped]) == (("start", "vm.db", 4.0),)
    assert report(critical_path([], [])) == ()


def test_urgency_is_the_longest_way_to_the_end() -> None:
    steps = {each.id: each for each in (step("a", timeout=1), step("b", "a", timeout=10), step("c", timeout=5))}
    assert list(priorities(steps, list(steps)).values()) == [11, 10, 5]
