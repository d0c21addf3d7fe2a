"""The kill matrix: whoever dies at whatever moment of a migration, one copy is left, or `migrate recover` gets there.

Each case is a migration held at a moment (``heldcontroller``), a wound (``killbench.VICTIMS``), and what must be true
once `recover` has nothing more to do: one copy runs, no number the guest said is lost or said twice, and nothing is
left over on either host. A line is printed for each. Parts of it: ``-k live-relay``, ``-k "memory and libvirtd"``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count

import pytest

from tests.e2e.controller import wait_for
from tests.lab.killbench import BOOT, SHARED, VICTIMS, Arena, Case, Way, Wounded
from tests.lab.movebench import VIRSH
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]
AFTER = ("switched", "verified", "committing")
WAYS = (
    Way("live", "relay", ("kvm2", "kvm3"), ("preparing", "copying", "memory", "handover", *AFTER)),
    Way("live", "relay", ("kvm2", "kvm3"), ("memory", "handover", "switched"), shared=True),
    Way("live", "tunnel", ("kvm2", "kvm3"), ("copying", "memory")),
    Way("warm", "relay", ("kvm1", "kvm2"), ("round", "defined", "switched")),
    Way("cold", "relay", ("kvm1", "kvm2"), ("sending", "defined", "switched", "committing")),
    Way("cold", "tunnel", ("kvm1", "kvm2"), ("sending",)),
    Way("postcopy", "relay", ("kvm2", "kvm3"), ("postcopy",)),
)
"""After the switch-over no path matters any more. Guests that are moved often while they run go between newer QEMUs:
after live moves away from QEMU 7.2 emulated ones freeze or panic now and then, whoever dies (``known_bad.json``)."""
CASES = [
    case for way in WAYS for moment in way.moments for victim in VICTIMS if (case := Case(way, moment, victim)).possible
]
ALWAYS = frozenset(
    (
        "live-relay-handover-controller",
        "live-relay-memory-destination-qemu",
        "live-relay-committing-source-ssh",
        "cold-relay-sending-destination-libvirtd",
    )
)
"""Run by `make test`, too."""
NUMBERS = count(1)
ATTEMPTS = 3
PAUSE = 300_000
"""Microseconds: an emulated guest that does more keeps others from their work."""


def parameter(case: Case) -> object:
    """The marks of a case."""
    marks = [] if str(case) in ALWAYS else [pytest.mark.thorough]
    return pytest.param(case, id=str(case), marks=[*marks, *([pytest.mark.disturbs] if case.victim in SHARED else [])])


@pytest.fixture(scope="module")
def arenas(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Arena]]:
    """By way, made when it is needed first."""
    made: dict[str, Arena] = {}
    folder = tmp_path_factory.mktemp("kills")
    for way in WAYS:
        made[str(way)] = Arena(lab, way.guest(lab, PAUSE), way.hosts, folder)
    yield made
    for arena in made.values():
        if arena.marks:
            arena.end()


def advice(arena: Arena, case: Case, wounded: Wounded) -> Mapping[str, object]:
    """What `recover` tells a person to do, by its rule or error: only of memory that cannot be had again."""
    if case.moment != "postcopy":
        return {}

    def start_there() -> None:
        arena.lab.on(wounded.destination, *VIRSH, "destroy", arena.guest.name, check=False)
        arena.lab.on(wounded.destination, *VIRSH, "start", arena.guest.name)

    return {"half-lost": start_there, "NF-MIG-205": start_there}


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_one_copy_is_left_whoever_dies(
    case: Case, arenas: dict[str, Arena], capsys: pytest.CaptureFixture[str]
) -> None:
    began, words = time.monotonic(), "FAILED"
    try:
        words = lived_through(arenas[str(case.way)], case)
    except AssertionError as error:
        words = f"FAILED: {' '.join(str(error).split())[:300]}"
        raise
    finally:
        with capsys.disabled():
            print(f"\n{case!s:<44} {words} ({time.monotonic() - began:.0f} s)", end="", flush=True)


def lived_through(arena: Arena, case: Case) -> str:
    """What became of it, in a line."""
    doors, wounded = held(arena, case)
    try:
        VICTIMS[case.victim](wounded)
        wounded.go_on()
    finally:
        wounded.process.kill()
        wounded.process.wait()
        arena.mend()
    by = arena.stranger if (case.victim, case.way.mode) == ("controller", "live") else arena.controller
    rules = arena.recover(by, advice(arena, case, wounded))
    home = judged(arena, case, wounded)
    wait_for(lambda: arena.closed(doors), BOOT, "keys and ports as before")
    undone = undo(arena, case, wounded, home)
    status = "killed" if case.victim == "controller" else f"exit {wounded.process.returncode}"
    told = f"{status}, {', '.join(rules) or 'nothing to recover'}"
    return f"{wounded.source} -> {wounded.destination}: {told}; runs on {home}{undone}"


def held(arena: Arena, case: Case) -> tuple[Mapping[str, tuple[str, set[str]]], Wounded]:
    """A migration held at its moment, and what was open before it. One case in a hundred (post-copy of a small guest)
    was over before its moment was told: then another begins."""
    for _ in range(ATTEMPTS):
        source = arena.ready()
        doors = arena.doors()
        wounded = arena.begin(case, source, next(NUMBERS))
        try:
            if wounded.reached(case.moment):
                return doors, wounded
        except BaseException:
            wounded.process.kill()
            wounded.process.wait()
            arena.mend()
            raise
    raise AssertionError(f"{ATTEMPTS} migrations missed the moment {case.moment}: {wounded.said()}")


def judged(arena: Arena, case: Case, wounded: Wounded) -> str:
    """The host that has the guest. One whose QEMU was killed may be off: it can be started."""
    guest = arena.guest
    states = {host: guest.state(host) for host in arena.hosts}
    assert sorted(states.values()) in (["", "running"], ["", "shut off"]), (states, wounded.said())
    home = next(host for host, state in states.items() if state)
    if states[home] != "running":
        assert case.victim.endswith("-qemu"), (states, wounded.said())
        arena.lab.on(home, *VIRSH, "start", guest.name)
    said = max(arena.heard(), default=arena.top)
    alive(arena, home, said)
    told = arena.heard()
    assert len(set(told)) == len(told), f"said twice: {sorted(each for each in set(told) if told.count(each) > 1)}"
    assert min(told) > arena.top, (min(told), arena.top)
    left = arena.left_over(wounded.job, home)
    assert left == [], (left, wounded.said())
    return home


def alive(arena: Arena, home: str, said: int) -> None:
    """It counts on from ``said``."""

    def ended() -> bool:
        return any(each > said for each in arena.guest.heard(home)) or "Kernel panic" in arena.screen(home)

    try:
        wait_for(ended, BOOT, f"a number beyond {said}")
    finally:
        assert "Kernel panic" not in arena.screen(home), arena.screen(home)[-400:]


def undo(arena: Arena, case: Case, wounded: Wounded, home: str) -> str:
    """The way back, of some that arrived."""
    if home != wounded.destination or case.victim not in ("controller", "source-libvirtd"):
        return ""
    said = max(arena.heard())
    arena.controller.ok("migrate", "undo", f"{home}/{arena.guest.name}", "--yes")
    arena.guest.counts(wounded.source, said, BOOT)
    assert arena.left_over("", wounded.source) == []
    told = arena.heard()
    assert len(set(told)) == len(told)
    return f", undone to {wounded.source}"


def test_the_matrix_has_every_victim_at_every_moment_it_can_die_at() -> None:
    """Left out are only those that are not there."""
    assert len(CASES) >= 60
    assert {case.victim for case in CASES} == set(VICTIMS)
    assert {str(case) for case in CASES} >= ALWAYS
