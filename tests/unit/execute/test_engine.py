"""The engine: order, failure, retry, cancellation, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from novafleet.errors import ConfigError, FencedError, NovaFleetError, Retry, UnreachableError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.engine import Engine
from novafleet.execute.resume import assume, prior, unknown
from novafleet.execute.schedule import Limits
from novafleet.model.plan import Step
from novafleet.model.run import Event, NodeResult, NodeState, Record
from tests.unit.execute.world import MemoryJournal, VirtualClock, World, no_context, step

DONE, FAILED, SKIPPED, CANCELLED, UNKNOWN = (
    NodeState.DONE,
    NodeState.FAILED,
    NodeState.SKIPPED,
    NodeState.CANCELLED,
    NodeState.UNKNOWN,
)


class Bench:
    """One engine with its world."""

    def __init__(self, **options: Any) -> None:
        self.world = World()
        self.journal = MemoryJournal()
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.options = options

    async def run(self, *steps: Step, **options: Any) -> dict[str, NodeResult]:
        engine = Engine(
            self.world.registry, no_context, self.journal, self.clock, emit=self.events.append, **self.options
        )
        results = await engine.run("r", steps, **options)
        assert [result.node for result in results] == [each.id for each in steps]
        return {result.resource.removeprefix("vm."): result for result in results}

    def seen(self, kind: str) -> list[str]:
        return [event.node for event in self.events if event.kind == kind]


def states(results: dict[str, NodeResult]) -> dict[str, NodeState]:
    return {name: result.state for name, result in results.items()}


async def test_intent_is_durable_before_the_effect_and_outcome_after_it() -> None:
    bench = Bench(epoch=lambda host: 7)

    async def look() -> None:
        assert [(record.kind, record.epoch) for record in bench.journal.records] == [("intent", 7)]

    bench.world.during["a"] = look
    results = await bench.run(step("a"))
    assert results["a"].state is DONE
    assert results["a"].outcome == {"made": "a"}
    assert bench.journal.records[1].payload == {"outcome": {"made": "a"}}
    assert [event.kind for event in bench.events] == ["run_started", "step_started", "step_done", "run_ended"]


async def test_steps_wait_for_those_they_come_after_and_missing_ones_are_satisfied() -> None:
    bench = Bench()
    await bench.run(step("c", "b", "gone"), step("b", "a"), step("a"), step("d", "a", "a"))
    assert bench.world.order.index("a") == 0
    assert bench.world.order.index("b") < bench.world.order.index("c")
    assert set(bench.world.order) == set("abcd")


async def test_a_gate_is_recorded_too() -> None:
    bench = Bench()
    await bench.run(step("gate", kind="convergent", check=True))
    assert bench.journal.kinds("vm.gate/start") == ["intent", "done"]


async def test_a_failure_skips_its_descendants_in_words_and_leaves_the_rest_alone() -> None:
    bench = Bench()
    bench.world.fail["db"] = [NovaFleetError("tcp:22 never answered", code="NF-GATE-001")]
    results = await bench.run(step("db"), step("web", "db"), step("shop", "web", "other"), step("other"))
    assert states(results) == {"db": FAILED, "web": SKIPPED, "shop": SKIPPED, "other": DONE}
    assert results["shop"].because == "vm.db/start on kvm1 failed: tcp:22 never answered"
    assert (results["db"].error or {})["code"] == "NF-GATE-001"
    assert bench.journal.kinds("vm.shop/start") == ["skipped"]
    assert bench.seen("step_skipped") == ["vm.web/start", "vm.shop/start"]


async def test_retries_go_by_the_class_of_the_error() -> None:
    bench = Bench()
    away, refused = UnreachableError("gone"), NovaFleetError("no", retry=Retry.NOW)
    bench.world.fail = {"a": [away, refused, away], "b": [NovaFleetError("no")], "c": [away, away]}
    results = await bench.run(step("a", retries=3), step("b", retries=3), step("c", retries=1))
    assert states(results) == {"a": DONE, "b": FAILED, "c": FAILED}
    assert [results[name].attempts for name in "abc"] == [4, 1, 2]
    assert sorted(bench.clock.slept) == [0.2, 1.0, 1.0, 4.0]
    assert bench.journal.kinds("vm.c/start") == ["intent", "failed", "intent", "failed"]


async def test_a_retried_step_is_looked_at_first() -> None:
    bench = Bench()

    async def lose_the_answer() -> None:
        bench.world.made["a"] += 1
        raise UnreachableError("lost")

    bench.world.during["a"] = lose_the_answer
    assert (await bench.run(step("a", retries=1)))["a"].state is DONE
    assert bench.world.made["a"] == 1


async def test_a_step_has_a_deadline() -> None:
    bench = Bench()
    bench.world.during["a"] = asyncio.Event().wait
    results = await bench.run(step("a", timeout=0.01, label="cloud-init"), step("b", "a"))
    assert (results["a"].error or {})["code"] == "NF-RUN-002"
    assert results["b"].because == "vm.a/start on kvm1 failed: cloud-init took longer than 0.01 s"


async def test_limits_hold_per_host_and_in_all() -> None:
    bench = Bench(limits=Limits(per_host=2, total=5))
    await bench.run(*(step(f"{host}{n}", host=host) for host in ("x", "y", "z") for n in range(10)))
    assert bench.world.most == {"x": 2, "y": 2, "z": 2, "all": 5}


async def test_the_longest_chain_goes_first() -> None:
    bench = Bench(limits=Limits(total=1))
    await bench.run(step("short"), step("long"), step("tail", "long"))
    assert bench.world.order == ["long", "short", "tail"]


async def test_stop_lets_running_steps_end_and_starts_no_more() -> None:
    bench, cancellation = Bench(), Cancellation()

    async def interrupt() -> None:
        cancellation.request("interrupted")

    bench.world.during["a"] = interrupt
    results = await bench.run(step("a"), step("b", "a"), cancellation=cancellation)
    assert states(results) == {"a": DONE, "b": CANCELLED}
    assert results["b"].because == "interrupted"
    assert bench.journal.kinds("vm.b/start") == ["cancelled"]


async def test_abort_cancels_running_steps_and_leaves_their_intent_open() -> None:
    bench, cancellation = Bench(), Cancellation()

    async def interrupt() -> None:
        cancellation.request("interrupted twice", Stage.ABORT)
        await asyncio.Event().wait()

    bench.world.during = {"a": interrupt, "c": asyncio.Event().wait}
    results = await bench.run(step("a", timeout=0.2), step("b", "a"), step("c"), cancellation=cancellation)
    assert states(results)["c"] is CANCELLED
    assert bench.journal.kinds("vm.c/start") == ["intent"]
    assert results["b"].state in (CANCELLED, SKIPPED)


async def test_stop_ends_the_wait_before_a_retry() -> None:
    bench, cancellation = Bench(), Cancellation()
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    bench.clock.sleep = sleep  # type: ignore[method-assign]
    bench.world.fail["a"] = [UnreachableError("gone")]
    running = asyncio.create_task(bench.run(step("a", retries=9), cancellation=cancellation))
    await asleep.wait()
    cancellation.request()
    assert (await running)["a"].state is FAILED


async def test_a_fenced_run_does_nothing_more() -> None:
    bench = Bench()
    bench.world.fail["a"] = [FencedError("taken over by ada@desk")]
    bench.world.during["c"] = asyncio.Event().wait
    results = await bench.run(step("a"), step("b"), step("c"), step("d", "b"), step("e", "d"))
    assert results["a"].state is FAILED
    assert results["c"].state is CANCELLED
    assert results["e"].state is CANCELLED
    assert bench.world.made["e"] == 0


async def test_a_journal_that_fails_stops_the_run() -> None:
    bench = Bench()
    bench.journal = MemoryJournal(limit=2)
    with pytest.raises(NovaFleetError, match="killed"):
        await bench.run(*(step(f"n{n}") for n in range(20)))


async def test_a_host_that_cannot_be_reached_fails_its_steps() -> None:
    bench = Bench()

    def context(_step: Step) -> Any:
        raise UnreachableError("kvm1 is gone")

    engine = Engine(bench.world.registry, context, bench.journal, bench.clock)
    results = await engine.run("r", [step("a"), step("b", "a")])
    assert [result.state for result in results] == [FAILED, SKIPPED]


async def test_unknown_actions_and_cycles_are_refused_before_anything_starts() -> None:
    bench = Bench()
    with pytest.raises(ConfigError, match="wait for each other"):
        await bench.run(step("a", "b"), step("b", "a"), step("c"))
    engine = Engine({}, no_context, bench.journal, bench.clock)
    with pytest.raises(NovaFleetError, match="no action is called probed") as caught:
        await engine.run("r", [step("a")])
    assert caught.value.code == "NF-RUN-001"
    assert not bench.journal.records


def interrupted(*steps: Step, kind: str = "intent", **payload: object) -> Sequence[Record]:
    return [Record("r", each.id, 1, kind, 0, 1.0, payload) for each in steps]


@pytest.mark.parametrize(
    ("kind", "happened", "made", "state"),
    [
        ("convergent", True, 2, DONE),
        ("probed", True, 1, DONE),
        ("probed", False, 1, DONE),
        ("attached", True, 1, DONE),
        ("once", True, 1, UNKNOWN),
        ("once", False, 0, UNKNOWN),
    ],
)
async def test_an_intent_without_outcome_is_met_by_class(
    kind: str, happened: bool, made: int, state: NodeState
) -> None:
    bench = Bench()
    bench.world.made["a"] = int(happened)
    steps = (step("a", kind=kind), step("b", "a"))
    results = await bench.run(*steps, prior=prior(interrupted(steps[0])))
    assert (bench.world.made["a"], results["a"].state) == (made, state)
    assert results["b"].state is (DONE if state is DONE else SKIPPED)


async def test_nobody_is_asked_twice() -> None:
    a, b = step("a", kind="once"), step("b", kind="once")
    before = prior(interrupted(a, b))
    assert unknown([a, b, step("c")], before) == (a.id, b.id)
    told = assume(assume(before, [a.id], done=True), [b.id], done=False)
    bench = Bench()
    results = await bench.run(a, b, prior=told)
    assert states(results) == {"a": DONE, "b": DONE}
    assert dict(bench.world.made) == {"b": 1}


async def test_what_was_done_once_is_not_done_again() -> None:
    a = step("a", kind="once")
    bench = Bench()
    results = await bench.run(a, prior=prior(interrupted(a, kind="done", outcome={"id": 4})))
    assert (results["a"].state, results["a"].outcome, dict(bench.world.made)) == (DONE, {"id": 4}, {})


async def test_a_once_step_that_lost_its_connection_is_unknown_and_never_retried() -> None:
    bench = Bench()
    bench.world.fail["a"] = [UnreachableError("lost")]
    a = step("a", kind="once", retries=5)
    results = await bench.run(a, step("b", "a"))
    assert states(results) == {"a": UNKNOWN, "b": SKIPPED}
    assert unknown([a], prior(bench.journal.records)) == (a.id,)
