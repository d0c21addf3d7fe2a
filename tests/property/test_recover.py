"""No facts lead to two running copies, to the end of the only one, or to a decision against the newest data.

Two ways of looking for a mistake: every combination of what hosts can show, and walks through migrations in which
hosts, QEMUs, libvirt daemons and the controller die at any moment, where the test knows what the table only sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.capability.migration.recover import BROKEN, CHANGING, RULES, Action, Facts, Seen, decide_recovery
from novafleet.model.migration import Mode, Phase

STATES = [
    ("", ""),
    ("running", "booted"),
    ("running", "migrated"),
    ("running", "postcopy"),
    ("blocked", "unknown"),
    ("paused", "user"),
    ("paused", "ioerror"),
    ("paused", "unknown"),
    ("paused", "migration"),
    ("paused", "starting up"),
    ("paused", "postcopy"),
    ("paused", "postcopy failed"),
    ("running", "postcopy failed"),
    ("shutoff", "migrated"),
    ("shutoff", "failed"),
    ("shutoff", "shutdown"),
    ("shutoff", "destroyed"),
    ("shutoff", "unknown"),
    ("crashed", "panicked"),
]
SEEN = [Seen(state=state, reason=reason) for state, reason in STATES]
SEEN += [Seen(reachable=False), Seen(state="running", reason="booted", foreign=True)]
SEEN += [Seen(state="paused", reason=reason, job=True) for reason in ("postcopy", "postcopy failed")]
SEEN += [Seen(state="paused", reason="migration", job=True), Seen(state="running", reason="booted", job=True)]
MODES = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM, Mode.COLD)
EVERYTHING = [Facts(*each) for each in product(Phase, MODES, (True, False), SEEN, SEEN, (False, True))]


def after(facts: Facts) -> tuple[bool, bool]:
    """Does it run on the source, on the destination, once the decision was carried out?"""
    action = decide_recovery(facts).action
    here, there = facts.source.runs, facts.destination.runs
    if action is Action.ROLL_BACK:
        return here or facts.running, False
    if action is Action.COMMIT:
        return False, there
    if action in (Action.START_DESTINATION, Action.RESUME):
        return False, True
    return here, there


def test_every_combination_is_decided_and_none_makes_a_second_copy_or_ends_the_only_one() -> None:
    used = set()
    for facts in EVERYTHING:
        decision = decide_recovery(facts)
        used.add(decision.rule)
        before = (facts.source.runs, facts.destination.runs)
        now = after(facts)
        assert sum(now) <= 1 or decision.action not in CHANGING, facts
        if sum(before) == 1:
            assert now == before, facts
        if sum(before) == 2:
            assert decision.action is Action.ALARM, facts
        assert not facts.switched or decision.action is not Action.ROLL_BACK, facts
    assert used == {rule.name for rule in RULES}


def test_nothing_is_touched_while_a_host_does_not_answer_or_libvirt_works() -> None:
    for facts in EVERYTHING:
        here, there = facts.source, facts.destination
        works = (here.job and here.reason != BROKEN) or there.job
        if works or not (here.reachable and there.reachable):
            assert decide_recovery(facts).action not in CHANGING, facts


def test_memory_on_both_hosts_is_brought_together_and_no_half_is_ended_while_it_may_be_of_use() -> None:
    for facts in EVERYTHING:
        action, here, there = decide_recovery(facts).action, facts.source, facts.destination
        if here.split and there.split:
            assert action in (Action.RESUME, Action.LEAVE, Action.NOTHING) or here.runs, facts
            assert action not in (Action.ROLL_BACK, Action.COMMIT, Action.START_DESTINATION), facts
        elif here.split:
            assert action not in CHANGING or (action is Action.COMMIT and there.runs), facts
        elif there.split:
            assert action not in CHANGING or (action is Action.COMMIT and here.reason == "migrated"), facts


def test_a_decision_says_why_and_where_nothing_is_done_what_to_do() -> None:
    for rule in RULES:
        assert rule.why
        if rule.action in (Action.ASK, Action.ALARM, Action.WAIT, Action.LEAVE):
            assert rule.fix, rule.name


ABSENT = Seen()


@dataclass(frozen=True)
class World:
    """The truth. ``newest`` is the side whose disks hold the guest's last write, or both; ``phase`` what was noted
    last; ``held``: libvirt talks to libvirt through the controller, and the destination waits for its word."""

    mode: Mode
    running: bool
    source: Seen
    destination: Seen = ABSENT
    phase: Phase = Phase.PREPARING
    newest: str = "source"
    controller: bool = True
    held: bool = False

    @property
    def facts(self) -> Facts:
        return Facts(self.phase, self.mode, self.running, self.source, self.destination, self.held)


RUNS = Seen(state="running", reason="booted")
ARRIVED = Seen(state="running", reason="migrated")
DOOR = Seen(state="paused", reason="migration")
WAITS = Seen(state="paused", reason="user")
OFF = Seen(state="shutoff", reason="shutdown")


def phase(name: Phase):  # type: ignore[no-untyped-def]
    """The controller notes it, unless it is dead: then what comes after in its own hand does not come."""
    return lambda w: replace(w, phase=name) if w.controller else w


def by_hand(change):  # type: ignore[no-untyped-def]
    """What only a living controller does."""
    return lambda w: change(w) if w.controller else w


def _alive(seen: Seen) -> bool:
    return seen.state in ("running", "paused")


def begin(w: World) -> World:
    if not w.controller or not w.source.runs:
        return replace(w, controller=False)
    return replace(w, source=replace(w.source, job=True), destination=replace(DOOR, job=True))


def performed(w: World) -> World:
    if not (w.source.job and w.destination.job):
        return w
    return replace(w, source=replace(DOOR, job=True))


def finished(w: World) -> World:
    """The destination's libvirt starts the CPUs; the guest writes there."""
    if not (w.destination.job and w.destination.half_way and w.source.half_way):
        return w
    if w.held:
        return replace(w, destination=WAITS, newest="both")
    return replace(w, destination=ARRIVED, newest="destination")


def confirmed(w: World) -> World:
    if not (w.source.job and w.source.half_way and w.destination in (ARRIVED, WAITS)):
        return w
    return replace(w, source=Seen(state="shutoff", reason="migrated"))


def word(w: World) -> World:
    """The controller saw that the source let go."""
    if not (w.held and w.destination == WAITS and w.source.off):
        return w
    return replace(w, destination=ARRIVED, newest="destination")


def live_gates(w: World) -> World:
    """The controller goes on only when it saw that it arrived."""
    return w if w.destination == ARRIVED and w.source.off else replace(w, controller=False)


def power_off(w: World) -> World:
    return replace(w, source=OFF) if w.source.present else replace(w, controller=False)


def define(w: World) -> World:
    return replace(w, destination=Seen(state="shutoff", reason="unknown"))


def start(w: World) -> World:
    return replace(w, destination=RUNS, newest="destination") if w.running else w


def let_go(w: World) -> World:
    return replace(w, source=Seen())


LIVE = [
    phase(Phase.COPYING),
    phase(Phase.SWITCHING),
    begin,
    performed,
    finished,
    confirmed,
    by_hand(word),
    live_gates,
    phase(Phase.SWITCHED),
    phase(Phase.VERIFIED),
    by_hand(let_go),
    phase(Phase.COMMITTED),
]
COLD = [
    phase(Phase.COPYING),
    by_hand(power_off),
    phase(Phase.SWITCHING),
    by_hand(define),
    by_hand(start),
    phase(Phase.SWITCHED),
    phase(Phase.VERIFIED),
    by_hand(let_go),
    phase(Phase.COMMITTED),
]


def given_up(w: World) -> World:
    """A gate was not met after a cold copy: from now on the source's disks are the ones that count."""
    return replace(phase(Phase.RETURNING)(w), newest="source")


def switched_off(w: World) -> World:
    return replace(w, destination=Seen(state="shutoff", reason="destroyed")) if w.destination.present else w


def undefined(w: World) -> World:
    return replace(w, destination=ABSENT)


def started(w: World) -> World:
    return replace(w, source=RUNS) if w.running and not w.source.runs else w


RETURNS = [
    *COLD[:6],
    by_hand(given_up),
    by_hand(switched_off),
    by_hand(undefined),
    by_hand(started),
    phase(Phase.ROLLED_BACK),
]


def controller_dies(w: World) -> World:
    return replace(network_ends(w) if w.held and w.source.job else w, controller=False)


def source_qemu_dies(w: World) -> World:
    if not _alive(w.source):
        return w
    there = Seen() if w.destination.half_way else w.destination
    return replace(w, source=Seen(state="shutoff", reason="crashed"), destination=there)


def destination_qemu_dies(w: World) -> World:
    if w.destination.half_way:
        here = replace(w.source, job=False)
        return replace(w, destination=Seen(), source=here)
    if w.destination.runs:
        return replace(w, destination=Seen(state="shutoff", reason="crashed"), source=replace(w.source, job=False))
    return w


def source_daemon_restarts(w: World) -> World:
    """libvirt's qemuMigrationSrcRecover: before the end of Perform it resumes, after it leaves it paused."""
    there = Seen() if w.destination.half_way and not w.source.half_way else w.destination
    return replace(w, source=replace(w.source, job=False), destination=there)


def destination_daemon_restarts(w: World) -> World:
    """What has not finished is killed."""
    return destination_qemu_dies(w) if w.destination.half_way else w


def network_ends(w: World) -> World:
    """Both give up on the job; what waited at the door is destroyed when its libvirt sees the connection end. A source
    that has not heard whether it arrived goes on."""
    if w.held and w.destination == WAITS and w.source.job:
        return replace(w, source=RUNS, newest="source")
    return replace(
        w,
        source=replace(w.source, job=False),
        destination=Seen() if w.destination.half_way else replace(w.destination, job=False),
    )


def source_host_reboots(w: World) -> World:
    here = Seen(state="shutoff", reason="unknown") if w.source.present else w.source
    return replace(w, source=here, destination=Seen() if w.destination.half_way else w.destination)


def destination_host_reboots(w: World) -> World:
    there = w.destination
    gone = Seen() if there.half_way else Seen(state="shutoff", reason="unknown") if there.present else there
    return replace(w, destination=gone, source=replace(w.source, job=False))


def source_out_of_reach(w: World) -> World:
    return replace(w, source=Seen(reachable=False))


ACCIDENTS = [
    controller_dies,
    source_qemu_dies,
    destination_qemu_dies,
    source_daemon_restarts,
    destination_daemon_restarts,
    network_ends,
    source_host_reboots,
    destination_host_reboots,
]


def walk(
    mode: Mode, running: bool, accidents: dict[int, list[int]], *, returns: bool = False, held: bool = False
) -> World:
    steps = LIVE if mode in (Mode.LIVE, Mode.POSTCOPY) else RETURNS if returns else COLD
    world = World(mode, running, RUNS if running else OFF, held=held)
    for number, step in enumerate(steps):
        for index in accidents.get(number, ()):
            world = ACCIDENTS[index](world)
        world = step(world)
    for index in accidents.get(len(steps), ()):
        world = ACCIDENTS[index](world)
    return world


def judge(world: World) -> Action:
    """Never against the newest data, never two that run."""
    decision = decide_recovery(world.facts)
    runs = (world.source.runs, world.destination.runs)
    if decision.action is Action.ROLL_BACK:
        assert world.newest != "destination", (decision, world)
    if decision.action in (Action.COMMIT, Action.START_DESTINATION):
        assert world.newest != "source" or world.mode in (Mode.COLD, Mode.WARM), (decision, world)
    assert sum(runs) <= 1, world
    assert sum(after(world.facts)) <= 1, (decision, world)
    return decision.action


@given(
    mode=st.sampled_from((Mode.LIVE, Mode.COLD)),
    running=st.booleans(),
    held=st.booleans(),
    accidents=st.dictionaries(st.integers(0, 13), st.lists(st.integers(0, len(ACCIDENTS) - 1), max_size=2), max_size=4),
)
@settings(max_examples=1500, deadline=None)
def test_a_migration_with_accidents_never_loses_what_the_guest_wrote_last(
    mode: Mode, running: bool, held: bool, accidents: dict[int, list[int]]
) -> None:
    judge(walk(mode, running or mode is Mode.LIVE, accidents, held=held and mode is Mode.LIVE))


@given(
    accidents=st.dictionaries(st.integers(6, 11), st.lists(st.integers(0, len(ACCIDENTS) - 1), max_size=2), max_size=4)
)
@settings(max_examples=500, deadline=None)
def test_a_migration_that_returns_never_runs_twice(accidents: dict[int, list[int]]) -> None:
    judge(walk(Mode.COLD, True, accidents, returns=True))


def test_when_the_controller_dies_on_the_way_back_a_decision_is_made_for_every_moment() -> None:
    for moment in range(11):
        world = walk(Mode.COLD, True, {moment: [0]}, returns=True)
        assert judge(world) in (Action.ROLL_BACK, Action.COMMIT, Action.START_DESTINATION, Action.NOTHING), world


@pytest.mark.parametrize(("mode", "held"), [(Mode.LIVE, False), (Mode.LIVE, True), (Mode.COLD, False)])
def test_when_only_the_controller_dies_a_decision_is_made_for_every_moment(mode: Mode, held: bool) -> None:
    """It commits or rolls back, or the migration has ended: nobody has to be asked."""
    for moment in range(14):
        world = walk(mode, True, {moment: [0]}, held=held)
        assert judge(world) in (Action.ROLL_BACK, Action.COMMIT, Action.START_DESTINATION, Action.NOTHING), world


def test_a_host_that_is_out_of_reach_is_waited_for_at_every_moment() -> None:
    for mode, moment in product((Mode.LIVE, Mode.COLD), range(9)):
        world = walk(mode, True, {moment: [0]})
        for hidden in (source_out_of_reach(world), replace(world, destination=Seen(reachable=False))):
            assert decide_recovery(hidden.facts).action in (Action.WAIT, Action.NOTHING)
