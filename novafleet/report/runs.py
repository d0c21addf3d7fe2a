"""Runs and their journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from novafleet.app.runs import RunHistory
from novafleet.model.encode import encode
from novafleet.model.run import Record, Run
from novafleet.report import console

STYLES = {"done": "green", "running": "yellow", "failed": "red", "cancelled": "yellow", "skipped": "yellow"}


def show_list(runs: Sequence[Run], form: str) -> None:
    """A table, or ``{runs: […]}``."""
    if form != "table":
        console.document({"runs": encode(runs)}, form)
        return
    grid = console.table("", "RUN", "ENVIRONMENT", "VERB", "STATE", "STARTED", "SECONDS", "HOLDER")
    for run in runs:
        seconds = f"{run.ended - run.started:.1f}" if run.ended else "-"
        state = console.text(run.state.value, STYLES.get(run.state.value, ""))
        grid.add_row(
            run.id, console.text(run.environment), run.verb, state, when(run.started), seconds, console.text(run.holder)
        )
    console.out().print(grid)


def show_one(history: RunHistory, form: str) -> None:
    """Header, steps and critical path, or ``{run: {…}, steps: […]}``."""
    if form != "table":
        console.document(encode(history), form)
        return
    run = history.run
    console.out().print(console.text(f"{run.id}  {run.verb} {run.environment}: {run.state.value}", "bold"))
    grid = console.table("", "STEP", "STATE", "TRIES", "SECONDS", "")
    for step in history.steps:
        state = console.text(step.state or "unknown", STYLES.get(step.state, "yellow"))
        grid.add_row(console.text(step.node), state, str(step.attempts), f"{step.seconds:.1f}", console.text(step.text))
    console.out().print(grid)
    for line in run.summary.get("critical_path", ()):
        console.out().print(console.text(str(line)), soft_wrap=True)


def show_log(records: Sequence[Record], form: str) -> None:
    """One line a record, or ``{records: […]}``."""
    if form != "table":
        console.document({"records": encode(records)}, form)
        return
    for record in records:
        payload = json.dumps(encode(record.payload), ensure_ascii=False) if record.payload else ""
        line = f"{when(record.at)} epoch {record.epoch} {record.kind:<8} {record.node} #{record.attempt} {payload}"
        console.out().print(console.text(line), soft_wrap=True)


def when(seconds: float) -> str:
    """A moment in the reader's own time zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
