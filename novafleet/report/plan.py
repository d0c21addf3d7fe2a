"""A plan as a tree for people, and as a document for machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from novafleet.model.encode import encode
from novafleet.model.plan import Change, Impact, Plan, Reason, ResourceChange
from novafleet.plan.graph import counts
from novafleet.report import console

STYLES = {Change.CREATE: "green", Change.UPDATE: "yellow", Change.DELETE: "red", Change.REPLACE: "red"}
MARKS = {Impact.LIVE: "", Impact.REBOOT: " ! reboot", Impact.RECREATE: " !! recreate", Impact.DATA_LOSS: " x DATA LOSS"}


def show(plan: Plan, form: str = "table") -> None:
    """Print the plan on stdout."""
    if form == "table":
        _tree(plan)
    else:
        console.document(document(plan), form)


def document(plan: Plan) -> Mapping[str, Any]:
    """``{environment, intent, summary, changes: [{address, kind, name, host, change, impact, …}], unreachable}``.

    Only what changes is listed; ``steps`` are the ids that would run.
    """
    changes = [
        {**encode(change), "action": change.change.name.lower(), "steps": [step.id for step in change.steps]}
        for change in plan.changed
    ]
    return {
        "environment": plan.environment,
        "intent": plan.intent,
        "summary": counts(plan),
        "changes": changes,
        "unreachable": dict(plan.unreachable),
    }


def summary(plan: Plan) -> str:
    """``Plan: 4 to add, 1 to change, 0 to replace, 0 to destroy.``"""
    if not plan.changed:
        return "No changes: the hosts are as the file says."
    parts = ", ".join(f"{count} to {name}" for name, count in counts(plan).items())
    return f"Plan: {parts}."


def _tree(plan: Plan) -> None:
    terminal = console.out()
    if plan.changed:
        root = Tree(console.text(f"{plan.environment} ({plan.intent})", "bold"), guide_style="dim")
        for host in sorted({change.host for change in plan.changed}):
            branch = root.add(console.text(host or "fleet", "bold"))
            for change in plan.changed:
                if change.host == host:
                    _change(branch, change)
        terminal.print(root)
    for note in _notes(plan):
        terminal.print(note, soft_wrap=True)
    for host, reason in plan.unreachable.items():
        terminal.print(console.text(f"? {host} could not be observed: {reason}", "red"), soft_wrap=True)
    terminal.print(console.text(summary(plan), "bold"))


def _change(branch: Tree, change: ResourceChange) -> None:
    style = STYLES.get(change.change, "")
    line = console.text(f"{change.change.value} {change.address}", style)
    lost = f" ({change.bytes_lost / 1024**3:.1f} GiB)" if change.bytes_lost else ""
    node = branch.add(line + console.text(MARKS[change.impact] + lost, "bold red"))
    for reason in change.reasons:
        node.add(_reason(reason))


def _reason(reason: Reason) -> Text:
    moved = (
        f"{reason.field}: {reason.before or '(none)'} -> {reason.after or '(none)'}" if reason.field else reason.text
    )
    source = f"  {reason.source}" if reason.source.file else ""
    return console.text(moved) + console.text(source, "dim")


def _notes(plan: Plan) -> list[Text]:
    return [
        console.text(f"  {change.address}: {reason.text}", "dim")
        for change in plan.changes
        if change.change is Change.NONE
        for reason in change.reasons
    ]
