"""For every graph: the journal's order is the graph's, failures take exactly their descendants, kills lose nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import NovaFleetError
from novafleet.execute.critical import critical_path
from novafleet.execute.engine import Engine
from novafleet.execute.resume import prior
from novafleet.execute.schedule import Limits
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import NodeResult, NodeState
from tests.unit.execute.world import WAITING, MemoryJournal, VirtualClock, World, no_context, step

QUICK = settings(deadline=None, max_examples=50)
KINDS = ("convergent", "probed", "attached", "once")


@st.composite
def graphs(draw: st.DrawFn, kinds: Sequence[str] = KINDS) -> tuple[Step, ...]:
    """Up to 14 steps on 3 hosts; each waits for some earlier ones. The order of the tuple is no help."""
    count = draw(st.integers(1, 14))
    steps = []
    for n in range(count):
        after = draw(st.sets(st.integers(0, n - 1), max_size=4)) if n else set()
        kind, host = draw(st.sampled_from(kinds)), draw(st.sampled_from(("kvm1", "kvm2", "kvm3")))
        made = step(f"n{n}", *(f"n{each}" for each in sorted(after)), kind=kind, host=host)
        check = kind == "convergent" and draw(st.booleans())
        args = {**made.args, "host": WAITING} if check else made.args
        steps.append(replace(made, check=check, args=args, timeout=draw(st.floats(1, 100))))
    return tuple(draw(st.permutations(steps)))


def name(each: Step) -> str:
    return str(each.args["name"])


def run(world: World, journal: MemoryJournal, steps: Sequence[Step], limits: Limits | None = None) -> list[NodeResult]:
    """One process: resumes what the journal tells, as far as it gets."""
    engine = Engine(world.registry, no_context, journal, VirtualClock(), limits=limits or Limits())
    return list(asyncio.run(engine.run("r", steps, prior=prior(journal.records))))


def descendants(steps: Sequence[Step], root: str) -> set[str]:
    found, queue = set(), [root]
    while queue:
        current = queue.pop()
        for each in steps:
            if current in each.after and each.id not in found:
                found.add(each.id)
                queue.append(each.id)
    return found


@QUICK
@given(graphs(), st.integers(1, 3), st.integers(1, 5))
def test_the_journal_follows_the_graph_and_limits_hold(steps: tuple[Step, ...], per_host: int, total: int) -> None:
    world, journal = World(), MemoryJournal()
    results = run(world, journal, steps, Limits(per_host, total))
    assert {result.state for result in results} == {NodeState.DONE}
    for each in steps:
        done = journal.at(each.id, "done")
        first = journal.at(each.id, "intent")
        assert first <= done
        assert all(journal.at(before, "done") < first for before in each.after)
    assert world.most["all"] <= total
    assert all(world.most[host] <= per_host for host in ("kvm1", "kvm2", "kvm3"))


@QUICK
@given(graphs(), st.data())
def test_a_failure_skips_exactly_its_descendants(steps: tuple[Step, ...], data: st.DataObject) -> None:
    world, journal = World(), MemoryJournal()
    culprit = data.draw(st.sampled_from(steps))
    world.fail[name(culprit)] = [NovaFleetError("broken")]
    states = {result.node: result for result in run(world, journal, steps)}
    doomed = descendants(steps, culprit.id)
    for each in steps:
        expected = NodeState.SKIPPED if each.id in doomed else NodeState.DONE
        assert states[each.id].state is (NodeState.FAILED if each.id == culprit.id else expected)
    assert all(states[each].because.startswith(f"{culprit.id} on {culprit.host} failed: broken") for each in doomed)
    assert not {f"vm.{each}/start" for each in world.made} & doomed


@settings(QUICK, max_examples=120)
@given(graphs(), st.lists(st.integers(0, 25), min_size=1, max_size=4))
def test_killed_at_any_record_and_resumed_the_world_is_the_same(steps: tuple[Step, ...], kills: list[int]) -> None:
    """A kill keeps the first K records; effects under way may or may not have happened. Whatever can be looked at is
    done exactly once; a ``once`` step is never done twice, and a person's word is needed for it alone."""
    world, records = World(), []
    for kept in kills:
        journal = MemoryJournal(limit=len(records) + kept)
        journal.records = records
        try:
            run(world, journal, steps)
        except NovaFleetError as error:
            assert error.what == "killed"
    journal = MemoryJournal()
    journal.records = records
    results = {result.node: result for result in run(world, journal, steps)}
    _assert_same_world(world.made, steps, results)


def _assert_same_world(made: Counter[str], steps: Sequence[Step], results: dict[str, NodeResult]) -> None:
    for each in steps:
        times, state = made[name(each)], results[each.id].state
        if each.step_class is StepClass.ONCE:
            assert times <= 1
            assert state is not NodeState.DONE or times == 1
        elif each.step_class is StepClass.CONVERGENT:
            assert state is not NodeState.DONE or times >= 1
        else:
            assert times == (1 if state is NodeState.DONE else times)
            assert times <= 1
    asked = {each.id for each in steps if results[each.id].state is NodeState.UNKNOWN}
    excused = asked.union(*(descendants(steps, node) for node in asked))
    assert all(results[each.id].state is NodeState.DONE for each in steps if each.id not in excused)


@QUICK
@given(graphs(), st.data())
def test_the_critical_path_adds_up_to_the_run(steps: tuple[Step, ...], data: st.DataObject) -> None:
    """With random times that respect the edges: segments are not negative and sum to the end of the last step."""
    ends: dict[str, float] = {}
    results = []
    for each in sorted(steps, key=lambda one: int(name(one)[1:])):
        start = max((ends[before] for before in each.after), default=0.0) + data.draw(st.floats(0, 5))
        ends[each.id] = start + data.draw(st.floats(0, 5))
        results.append(NodeResult(each.id, each.resource, each.host, NodeState.DONE, start, ends[each.id]))
    path = critical_path(steps, results)
    assert abs(sum(seconds for _, _, seconds in path) - max(ends.values())) < 1e-9
    assert all(seconds >= 0 for _, _, seconds in path)
