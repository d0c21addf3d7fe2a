"""What an interrupted run left behind, and what its journal says about each step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Record

INTENT = "intent"
DONE = "done"

Prior = Mapping[str, Record]
"""Per step, its last ``intent``, ``done`` or ``failed`` record; an intent means that nobody saw the outcome."""


def prior(records: Iterable[Record]) -> Prior:
    """The state of each step after these records, which are in journal order."""
    return {record.node: record for record in records if record.kind in (INTENT, DONE, "failed")}


def unknown(steps: Sequence[Step], before: Prior) -> tuple[str, ...]:
    """Steps that may have happened and cannot be looked at: somebody must say (``resume --assume``)."""
    return tuple(step.id for step in steps if _is_unknown(step, before.get(step.id)))


def _is_unknown(step: Step, last: Record | None) -> bool:
    return step.step_class is StepClass.ONCE and last is not None and last.kind == INTENT


def assume(before: Prior, nodes: Iterable[str], *, done: bool) -> Prior:
    """The same with a person's word for what happened: these steps are done, or are to be done (again)."""
    told = {node: replace(before[node], kind=DONE if done else "failed") for node in nodes if node in before}
    return {**before, **told}
