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
    done = sum(result.state is NodeState.DONE for result in finished.results)
    failed = sum(result.state is NodeState.FAILED for result in finished.results)
    skipped = sum(result.state is NodeState.SKIPPED for result in finished.results)
    counts = (
        f"{done} steps done" + (f", {failed} failed" if failed else "") + (f", {skipped} skipped" if skipped else "")
    )
    residue = f"; still differs: {', '.join(finished.residue)}" if finished.residue else ""
    advice = (
        "" if finished.state == "done" or not finished.run_id else f"; continue: novafleet resume {finished.run_id}"
    )
    return f"{finished.verb} {finished.environment}: {finished.state} in {finished.seconds:.1f} s, {counts}{residue}{advice}"
