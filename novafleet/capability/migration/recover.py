"""What to do with a migration that was cut off, decided from nothing but what both hosts show. Pure.

The table is read from the top, and the first rule that fits decides. It never starts a copy while another runs or while
a host where one might run does not answer, and never destroys one that runs alone: ``tests/property/test_recover.py``
tries them all. The reasons are libvirt's own (research, section 4; docs/concepts/migration-recovery.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from novafleet.model.migration import Mode, Phase
from novafleet.plan.moving import CLOSED

OFF = frozenset(("shutoff", "crashed"))
LIVELY = frozenset(("running", "blocked", "idle"))
BROKEN = "postcopy failed"
"""libvirt has given post-copy up on that side, and keeps the job: it can be resumed."""
ARRIVING = frozenset(("migration", "starting up"))
"""Reasons of a guest paused by libvirt whose CPUs have not run here."""


class Action(StrEnum):
    """What to do. ``roll_back``: the destination is cleared, the source goes on. ``commit``: the source lets go.
    ``start_destination``: it starts there, then as ``commit``. ``resume``: the rest of its memory is brought, then as
    ``commit``. The others touch nothing."""

    NOTHING = "nothing"
    WAIT = "wait"
    LEAVE = "leave"
    ROLL_BACK = "roll-back"
    COMMIT = "commit"
    START_DESTINATION = "start-destination"
    RESUME = "resume"
    ASK = "ask"
    ALARM = "alarm"


CHANGING = frozenset((Action.ROLL_BACK, Action.COMMIT, Action.START_DESTINATION, Action.RESUME))
"""Actions that touch a host."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One host. ``state`` and ``reason`` are libvirt's words for the domain, "" when it has none; ``job``: a migration
    job is under way there; ``foreign``: the domain of that name is another one."""

    reachable: bool = True
    state: str = ""
    reason: str = ""
    job: bool = False
    foreign: bool = False

    @property
    def present(self) -> bool:
        """Is the VM defined or running here?"""
        return bool(self.state) and not self.foreign

    @property
    def runs(self) -> bool:
        """Do its CPUs run here?"""
        return self.present and self.state in LIVELY

    @property
    def off(self) -> bool:
        """Is it here, without QEMU?"""
        return self.present and self.state in OFF

    @property
    def half_way(self) -> bool:
        """Is it paused at the door, its CPUs not started since?"""
        return self.present and self.state == "paused" and self.reason in ARRIVING

    @property
    def split(self) -> bool:
        """Is its memory on both hosts?"""
        return self.present and self.reason in ("postcopy", BROKEN)


@dataclass(frozen=True, slots=True)
class Facts:
    """A migration and what both hosts show of it. ``running``: the guest ran when it began; ``held``: its CPUs were to
    wait on the destination for the controller's word."""

    phase: Phase
    mode: Mode
    running: bool
    source: Seen
    destination: Seen
    held: bool = False

    @property
    def waits(self) -> bool:
        """Is all of it on the destination, where its CPUs have not started yet?"""
        there = self.destination
        at_door = self.held and there.present and (there.state, there.reason) == ("paused", "user")
        return at_door and not self.switched

    @property
    def switched(self) -> bool:
        """Is it recorded that the destination ran it?"""
        return self.phase in (Phase.SWITCHED, Phase.VERIFIED)

    @property
    def before_switch(self) -> bool:
        """Is it certain that nothing could run on the destination yet, or was what ran there given up?"""
        return self.phase in (Phase.PREPARING, Phase.COPYING, Phase.RETURNING)


@dataclass(frozen=True, slots=True)
class Decision:
    """``rule`` names the row, ``why`` says it for people, ``fix`` what a person does where we do nothing."""

    rule: str
    action: Action
    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table."""

    name: str
    fits: Callable[[Facts], bool]
    action: Action
    why: str
    fix: str = ""


def decide_recovery(facts: Facts) -> Decision:
    """The first rule that fits; the last fits all."""
    rule = next(each for each in RULES if each.fits(facts))
    return Decision(rule.name, rule.action, rule.why, rule.fix)


LOOK = "virsh domstate --reason VM   # on both hosts; start or resume the one you want, then: novafleet migrate recover"

RULES: tuple[Rule, ...] = (
    Rule(
        "both-run",
        lambda f: f.source.runs and f.destination.runs,
        Action.ALARM,
        "the VM runs on both hosts: each may write what the other does not know",
        "find out which copy people use, and stop the other at once: virsh destroy VM",
    ),
    Rule("closed", lambda f: f.phase in CLOSED, Action.NOTHING, "this migration ended"),
    Rule(
        "unreachable",
        lambda f: not (f.source.reachable and f.destination.reachable),
        Action.WAIT,
        "a host does not answer, and the VM may run there",
        "bring the host back, or make sure that it is off and stays so; then: novafleet migrate recover",
    ),
    Rule(
        "under-way",
        lambda f: (f.source.job and f.source.reason != BROKEN) or f.destination.job,
        Action.LEAVE,
        "libvirt is still at it: the migration goes on without us",
        "novafleet migrate recover   # again, when it has ended",
    ),
    Rule(
        "split",
        lambda f: f.source.split and f.destination.split and not f.source.runs,
        Action.RESUME,
        "post-copy broke off: the guest's memory is on both hosts, and neither copy may be destroyed or started",
    ),
    Rule(
        "half-lost",
        lambda f: (
            (f.source.split and not f.destination.runs) or (f.destination.split and f.source.reason != "migrated")
        ),
        Action.ASK,
        "post-copy broke off and a part of the guest's memory is gone, as in a power cut; the destination has its "
        "newest disks",
        "virsh destroy VM; virsh start VM   # on the destination, then: novafleet migrate recover",
    ),
    Rule(
        "runs-there",
        lambda f: f.destination.runs,
        Action.COMMIT,
        "the destination runs it, the source does not",
    ),
    Rule(
        "source-runs-after-switch",
        lambda f: f.source.runs and f.switched,
        Action.ASK,
        "the destination ran it, and now the source does: what was written there is not here",
        LOOK,
    ),
    Rule(
        "runs-here",
        lambda f: f.source.runs and (not f.destination.present or f.destination.half_way or f.waits or _never_ran(f)),
        Action.ROLL_BACK,
        "the source runs it; the destination never did",
    ),
    Rule(
        "waits-there",
        lambda f: f.waits and (not f.source.present or f.source.half_way or f.source.reason == "migrated"),
        Action.START_DESTINATION,
        "all of it is on the destination, where its CPUs wait for a word; the source has not run since",
    ),
    Rule(
        "at-the-door",
        lambda f: f.source.present and not f.source.runs and (f.destination.half_way or f.waits) and not f.switched,
        Action.ROLL_BACK,
        "its CPUs never started on the destination: the source has all of the guest",
    ),
    Rule(
        "paused-there",
        lambda f: f.destination.state == "paused" and f.destination.present and not f.source.runs and _settled(f),
        Action.COMMIT,
        "the destination ran it and holds it paused; nothing runs on the source",
    ),
    Rule(
        "gone-from-both",
        lambda f: not f.source.present and not f.destination.present,
        Action.ASK,
        "neither host knows the VM",
        "novafleet migrate ls   # its disks are in the source's quarantine, its definition in the record there",
    ),
    Rule(
        "never-arrived",
        lambda f: not f.destination.present and not f.source.runs and not _left(f),
        Action.ROLL_BACK,
        "the destination answers and does not have it: the source is the only copy",
    ),
    Rule(
        "lost-there",
        lambda f: not f.destination.present,
        Action.ASK,
        "the destination ran it and does not know it any more; what the source has is older",
        LOOK,
    ),
    Rule(
        "not-switched",
        lambda f: f.destination.off and f.source.present and not f.source.runs and _never_ran(f) and not _left(f),
        Action.ROLL_BACK,
        "its CPUs never ran on the destination: the source has its data",
    ),
    Rule(
        "off-as-before",
        lambda f: f.destination.off and not f.source.runs and not f.running and _settled(f),
        Action.COMMIT,
        "it was off and is off; the destination has all of it",
    ),
    Rule(
        "powered-off-there",
        lambda f: f.destination.off and not f.source.runs and f.destination.reason == "shutdown",
        Action.ASK,
        "it ran on the destination and powered itself off there: whether it is to run again is not ours to say",
        "virsh start VM   # on the destination, then: novafleet migrate recover",
    ),
    Rule(
        "newest-there",
        lambda f: f.destination.off and not f.source.runs and _settled(f),
        Action.START_DESTINATION,
        "the destination has its newest data, and it runs nowhere",
    ),
    Rule("unclear", lambda _: True, Action.ASK, "what both hosts show does not say which copy is the newest", LOOK),
)


def _never_ran(f: Facts) -> bool:
    """Is what the destination has certainly unused?"""
    return f.destination.off and (f.before_switch or (f.destination.reason == "failed" and not f.switched))


def _left(f: Facts) -> bool:
    """Did the source see it leave?"""
    return f.switched or f.source.reason == "migrated"


def _settled(f: Facts) -> bool:
    """Has the destination all of it? It ran there, the source let go of it, or it came by a copy that was compared
    before it was defined there."""
    compared = f.mode in (Mode.COLD, Mode.WARM) and not f.before_switch
    return _left(f) or not f.source.present or compared or _told_paused(f)


def _told_paused(f: Facts) -> bool:
    """Paused for a reason only a guest that ran has."""
    return f.destination.state == "paused" and f.destination.reason not in (*ARRIVING, "unknown")
