"""The dossier of a container stack's migration: what is in the way, and about how long it takes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from novafleet.capability.migration.closed import CLOSED
from novafleet.capability.migration.findings import blocker, note, warning
from novafleet.capability.migration.stack import StackMove
from novafleet.capability.migration.stacklook import StackSeen
from novafleet.errors import MigrationError, Retry
from novafleet.model.migration import Finding, GateAhead, Severity

HEADROOM = 1.1
"""What arrives takes a little more than it took."""
STOP = 10.0
"""Seconds an engine gives containers to end by themselves (``docker stop``)."""
START = (1.0, 15.0)
"""Seconds containers take to come up."""
CHANGES = 0.05
"""Of what the volumes hold, what is copied again while the stack is down, at the most."""


@dataclass(frozen=True, slots=True)
class StackDossier:
    """``seconds`` for the whole move and ``downtime`` (from, to) are predictions, 0 where nothing was measured;
    ``bytes`` what has to be carried."""

    move: StackMove
    seen: StackSeen
    findings: tuple[Finding, ...]
    bytes: int
    seconds: float
    downtime: tuple[float, float]
    gates: tuple[GateAhead, ...] = ()

    @property
    def possible(self) -> bool:
        """Does nothing bar it?"""
        return not any(each.severity is Severity.BLOCKER for each in self.findings)


def judge(
    move: StackMove,
    seen: StackSeen,
    maintenance: str | None,
    gates: tuple[GateAhead, ...] = (),
    unknown: str = "",
) -> StackDossier:
    """From what was seen; ``maintenance`` is the text of the destination's file, None without one; ``unknown``: why
    nobody knows its gates."""
    move = replace(move, gates=tuple(each.gate for each in gates if each.met))
    images = sum(image.size for image in seen.images if not image.present)
    held = sum(seen.sizes.values())
    seconds, downtime = _times(move, seen, images + held, held)
    found = (*_findings(move, seen, maintenance), *_gates(move, gates, unknown))
    ordered = tuple(sorted(found, key=lambda each: ("blocker", "warning", "note").index(each.severity.value)))
    return StackDossier(move, seen, ordered, images + held, seconds, downtime, gates)


def _gates(move: StackMove, gates: tuple[GateAhead, ...], unknown: str) -> Iterator[Finding]:
    if unknown:
        yield note("NF-MIG-352", f"its gates are not known here: {unknown}", "novafleet up FILE")
    if move.gates:
        labels = ", ".join(gate.label for gate in move.gates)
        yield note("NF-MIG-350", f"its gates must be met on {move.destination} too, or all goes back: {labels}")
    for each in gates:
        if not each.met:
            what = f"gate {each.gate.label} is not met on {move.source} ({each.evidence}): it will not be asked"
            yield warning("NF-MIG-351", what, "mend that first, if it is to prove something")


def _times(move: StackMove, seen: StackSeen, carried: int, held: int) -> tuple[float, tuple[float, float]]:
    if not seen.link_rate:
        return 0.0, (0.0, 0.0)
    copy = carried / seen.link_rate
    if not move.up:
        return round(copy, 1), (0.0, 0.0)
    low, high = START[0], STOP + CHANGES * held / seen.link_rate + START[1]
    return round(copy + high, 1), (low, round(high, 1))


def _findings(move: StackMove, seen: StackSeen, maintenance: str | None) -> Iterator[Finding]:
    there, engine = move.destination, move.runs_by
    if maintenance is not None:
        text = f" ({maintenance})" if maintenance else ""
        yield blocker(CLOSED, f"{there} is in maintenance{text}", f"novafleet host maintenance off {there}")
    if seen.in_the_way:
        what = f"{there} has something of a stack {move.project} already: {', '.join(seen.in_the_way)}"
        yield blocker("NF-MIG-420", what, f"{engine} ps -a; {engine} volume ls   # on {there}: whose are they?")
    if seen.taken:
        what = f"somebody listens on {', '.join(seen.taken)} of {there} already"
        yield blocker("NF-MIG-424", what, f"ss -ltnup   # on {there}: who? Or publish another port")
    yield from _room(move, seen)
    for path in seen.bound:
        what = f"its containers use {path} of {move.source}, which does not move"
        yield warning("NF-MIG-425", what, f"put it on {there} first, or into a named volume")
    for name, why in move.stays.items():
        yield warning("NF-MIG-425", f"volume {name} does not move: {why}", f"see that {there} reaches it")
    if move.engine != move.runs_by:
        yield note("NF-MIG-426", f"{move.engine} runs it on {move.source}, {move.runs_by} will on {there}")


def _room(move: StackMove, seen: StackSeen) -> Iterator[Finding]:
    """Images and volumes are the engine's, the bundle is ours."""
    need = sum(image.size for image in seen.images if not image.present) + sum(seen.sizes.values())
    for folder, free in seen.room.items():
        if need * HEADROOM > free:
            what = f"{move.destination} has {free >> 20} MiB free in {folder}; {need >> 20} MiB are needed"
            yield blocker("NF-MIG-321", what, f"{move.runs_by} system df   # on {move.destination}: make room there")
            return


def refuse_stack(dossier: StackDossier) -> None:
    """Raise MigrationError with the code of the first blocker; the fixes of all are its hints."""
    barring = [each for each in dossier.findings if each.severity is Severity.BLOCKER]
    if barring:
        raise MigrationError(
            barring[0].what,
            code=barring[0].code,
            where=f"{dossier.move.source}/stack.{dossier.move.project}",
            cause="; ".join(each.what for each in barring[1:]),
            hints=tuple(each.fix for each in barring),
            retry=Retry.AFTER_FIX,
        )
