"""What a run did: failures first, then the critical path, then one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novafleet.app.change import Finished
from novafleet.model.encode import encode
from novafleet.model.run import NodeResult, NodeState
from novafleet.report import console, findings


def show(finished: Finished, form: str) -> None:
    """Print the end of ``up``, ``down`` or ``resume``."""
    if form != "table":
        console.document(document(finished), form)
        return
    for result in finished.results:
        if result.state is NodeState.FAILED and result.error:
            findings.show_finding({**result.error, "where": _where(result)})
    for error in finished.errors:
        findings.show_finding(error)
    for result in finished.results:
        if result.state is NodeState.SKIPPED:
            console.err().print(console.text(f"skipped {result.node}: {result.because}", "yellow"), soft_wrap=True)
    for line in finished.critical_path if finished.changed else ():
        console.out().print(console.text(line), soft_wrap=True)
    console.out().print(console.text(_summary(finished), "bold"), soft_wrap=True)


def _where(result: NodeResult) -> str:
    """The step on its host, and the line of the file where the error names one."""
    place = f"{result.host} {result.node}"
    said = str((result.error or {}).get("where", ""))
    return place if said in ("", result.host, place) else f"{place} ({said})"


def document(finished: Finished) -> Mapping[str, Any]:
    """``{run, environment, verb, state, seconds, changed, critical_path, steps: […], residue}``."""
    return {
        "run": finished.run_id,
        "environment": finished.environment,
        "verb": finished.verb,
        "state": finished.state,
        "seconds": round(finished.seconds, 3),
        "changed": finished.changed,
        "critical_path": list(finished.critical_path),
        "steps": encode(finished.results),
        "errors": list(finished.errors),
        "residue": list(finished.residue),
    }


def _summary(finished: Finished) -> str:
    counts = ", ".join(f"{number} {word}" for word, number in _counts(finished) if number)
    steps = f"steps: {counts}" if counts else "nothing to do"
    line = f"{finished.verb} {finished.environment}: {finished.state} in {finished.seconds:.1f} s; {steps}"
    if finished.residue:
        line += f"; still differs: {', '.join(finished.residue)}"
    if finished.run_id and finished.state != "done":
        line += f"; continue: novafleet resume {finished.run_id}"
    return line


def _counts(finished: Finished) -> list[tuple[str, int]]:
    words = {"done": NodeState.DONE, "failed": NodeState.FAILED, "skipped": NodeState.SKIPPED}
    words |= {"cancelled": NodeState.CANCELLED, "unknown": NodeState.UNKNOWN}
    states = [result.state for result in finished.results]
    return [(word, states.count(state)) for word, state in words.items()]
