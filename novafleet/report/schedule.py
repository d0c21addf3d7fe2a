"""Schedules and their runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from novafleet.app.schedule import Installed, Listed
from novafleet.model.encode import encode
from novafleet.model.schedule import RunState, Schedule, ScheduledRun
from novafleet.render.schedule import WORDS, lines
from novafleet.report import console
from novafleet.report.runs import when
from novafleet.source import cron

STYLES = {RunState.DONE: "green", RunState.FAILED: "red", RunState.DIED: "red"}


def show_installed(installed: Installed, form: str) -> None:
    """One line each, or ``{schedules: […], removed: […], notices: […]}``."""
    if form != "table":
        schedules = [_described(each) for each in installed.schedules]
        console.document(
            {"schedules": schedules, "removed": list(installed.removed), "notices": list(installed.notices)}, form
        )
        return
    for schedule in installed.schedules:
        calendar = " and ".join(cron.on_calendar(schedule.expression))
        console.out().print(console.text(f"{schedule.name}: {schedule.timer}, {schedule.expression} ({calendar})"))
    for name in installed.removed:
        console.out().print(console.text(f"{name}: removed, nothing asks for it any more"))
    for notice in installed.notices:
        console.err().print(console.text(notice, "yellow"))


def show_list(listed: Sequence[Listed], form: str) -> None:
    """A table, or ``{schedules: [{name, …, state, next, last, overdue}]}``."""
    if form != "table":
        rows = [
            {
                **_described(each.schedule),
                "state": each.timer,
                "next": each.next,
                "last": encode(each.last),
                "overdue": list(each.overdue),
            }
            for each in listed
        ]
        console.document({"schedules": rows}, form)
        return
    grid = console.table("", "SCHEDULE", "TIMER", "WHEN", "NEXT", "LAST", "RESULT", "MISSED")
    for each in listed:
        last, schedule = each.last, each.schedule
        result = console.text(WORDS[last.state], STYLES.get(last.state, "yellow")) if last else "-"
        count = len(each.overdue) + (len(last.missed) if last else 0)
        timer = console.text(f"{schedule.timer}, {each.timer}", "" if each.timer == "active" else "red")
        missed = console.text(str(count or "-"), "red" if count else "")
        grid.add_row(
            schedule.name,
            timer,
            schedule.expression,
            when(each.next),
            when(last.started) if last else "-",
            result,
            missed,
        )
    console.out().print(grid)


def show_run(run: ScheduledRun, form: str) -> None:
    """The summary, or the run as it is kept."""
    if form != "table":
        console.document(encode(run), form)
        return
    for line in lines(run):
        console.out().print(console.text(line), soft_wrap=True)


def show_removed(schedule: Schedule, form: str) -> None:
    """One line, or the schedule that was."""
    if form != "table":
        console.document(_described(schedule), form)
        return
    console.out().print(console.text(f"{schedule.name}: removed; its backups stay"))


def _described(schedule: Schedule) -> dict[str, Any]:
    return {
        "name": schedule.name,
        "timer": schedule.timer,
        "expression": schedule.expression,
        "window": str(schedule.window or ""),
        "file": schedule.file,
        "environment": schedule.environment,
        "inventory": list(schedule.inventory),
        "installed": schedule.installed,
    }
