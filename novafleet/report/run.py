"""What a run did: failures first, then the critical path, then one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novafleet.app.change import Finished
from novafleet.model.encode import encode
from novafleet.model.run import NodeState
from novafleet.report import console, findings


def show(finished: Finished, form: str) -> None:
    """Print the end of ``up``, ``down`` or ``resume``."""
    if form != "table":
        console.document(document(finished), form)
        return
    for result in finished.results:
        if result.state is NodeState.FAILED and result.error:
            findings.show_finding({**result.error, "where": f"{result.host} {result.node}"})
    for result in finished.results:
        if result.state is NodeState.SKIPPED:
            console.err().print(console.text(f"skipped {result.node}: {result.because}", "yellow"), soft_wrap=True)
    for line in finished.critical_path:
        console.out().print(console.text(line))
    console.out().print(console.text(_summary(finished), "bold"))


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
        "residue": list(finished.residue),
    }


def _summary(finished: Finished) -> str:
    counts = ", ".join(f"{number} {word}" for word, number in _counts(finished) if number) or "nothing to do"
    line = f"{finished.verb} {finished.environment}: {finished.state} in {finished.seconds:.1f} s, {counts}"
    if finished.residue:
        line += f"; still differs: {', '.join(finished.residue)}"
    if finished.run_id and finished.state != "done":
        line += f"; continue: novafleet resume {finished.run_id}"
    return line


def _counts(finished: Finished) -> list[tuple[str, int]]:
    words = {"steps done": NodeState.DONE, "failed": NodeState.FAILED, "skipped": NodeState.SKIPPED}
    words |= {"cancelled": NodeState.CANCELLED, "unknown": NodeState.UNKNOWN}
    states = [result.state for result in finished.results]
    return [(word, states.count(state)) for word, state in words.items()]
