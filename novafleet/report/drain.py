"""Plans of drains and rebalancing, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings

if TYPE_CHECKING:
    from novafleet.app.convoy import Moved, Travelled
    from novafleet.app.drain import Drafted, Drained
    from novafleet.app.maintenance import Maintenance
    from novafleet.app.rebalance import Balanced, Weighed
    from novafleet.errors import NovaFleetError
    from novafleet.placement.problem import Load, Plan, PlannedMove, Unmovable

SYMBOLS = {
    "done": ("✓", "green"),
    "rolled-back": ("↩", "yellow"),
    "waiting": ("…", "yellow"),
    "skipped": ("-", "yellow"),
    "unverified": ("!", "red"),
    "unclear": ("?", "red"),
    "failed": ("✗", "red"),
}
MIB = 1024**2


def plan(drafted: Drafted, form: str) -> None:
    """Who stays and why, who goes where, what is proven; or the document of ``plan_document``."""
    if form != "table":
        console.document(plan_document(drafted), form)
        return
    _unmovable(drafted.plan.unmovable)
    for name in drafted.stacks:
        console.err().print(console.text(f"stays: the stack {name}: containers do not move with VMs", "yellow"))
    _moves(drafted.plan.moves, {name: terms.modes for name, terms in drafted.governing.terms.items()})
    _proof(drafted.plan)
    for text in _asides(drafted):
        console.err().print(console.text(text, "yellow"), soft_wrap=True)


def _asides(drafted: Drafted) -> Sequence[str]:
    lines = list(drafted.notes)
    lines += _silent(drafted.unseen)
    if drafted.closed_now:
        lines.append(f"waiting for their window (--now: go anyway): {', '.join(drafted.closed_now)}")
    if drafted.unspared:
        lines.append(f"no spare would be left: {drafted.unspared}")
    return lines


def _silent(unseen: Mapping[str, NovaFleetError]) -> Sequence[str]:
    return [f"{host} could not be asked: {error}" for host, error in unseen.items()]


def plan_document(drafted: Drafted) -> Mapping[str, Any]:
    """The stable form (docs/reference/json.md)."""
    modes = {name: terms.modes for name, terms in drafted.governing.terms.items()}
    return {
        "verb": drafted.verb,
        "host": drafted.order.host,
        **_plan(drafted.plan, modes),
        "stacks": list(drafted.stacks),
        "unspared": drafted.unspared,
        "waiting": list(drafted.closed_now),
        "notes": list(drafted.notes),
        "unseen": {host: error.finding() for host, error in drafted.unseen.items()},
    }


def _plan(found: Plan, modes: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    rows = [{**encode(move), "modes": list(modes.get(move.guest, ()))} for move in found.moves]
    return {
        "feasible": found.proof.verdict == "feasible",
        "proof": encode(found.proof),
        "moves": rows,
        "unmovable": encode(found.unmovable),
        "bytes": sum(move.bytes for move in found.moves),
        "before": encode(found.before),
        "after": encode(found.after),
    }


def _unmovable(found: Sequence[Unmovable]) -> None:
    for each in found:
        hints = [each.fix] if each.fix else []
        what = f"stays: {each.why}"
        findings.show_finding({"code": each.code, "where": each.guest, "what": what, "cause": "", "hints": hints})


def _moves(moves: Sequence[PlannedMove], modes: Mapping[str, Sequence[str]]) -> None:
    if not moves:
        return
    grid = console.table("", "VM", "TO", "DATA", "PRIORITY", "AFTER", "MODES", "WHY")
    for move in moves:
        after = ", ".join(moves[index].guest for index in move.after) or "-"
        words = (move.guest, move.destination, f"{move.bytes / MIB:,.0f} MiB", str(move.priority), after)
        grid.add_row(
            *(console.text(word) for word in (*words, ", ".join(modes.get(move.guest, ())) or "any", move.why))
        )
    console.out().print(grid)


def _proof(found: Plan) -> None:
    text = f"{found.proof.verdict}: {found.proof.text}; fullest host {_load(found.before)} -> {_load(found.after)}"
    console.out().print(console.text(text, "bold"), soft_wrap=True)


def _load(load: Load) -> str:
    return f"{load.host} {load.peak:.0%}" if load.host else "-"


def drained(result: Drained, form: str) -> None:
    """A line a guest; or the plan's document with ``run`` and what became of each move."""
    if form != "table":
        console.document({**plan_document(result.drafted), **_travelled(result.travelled)}, form)
        return
    _unmovable(result.drafted.plan.unmovable)
    if result.travelled is None:
        none = "nothing can be moved" if result.drafted.plan.unmovable else "nothing has to move"
        console.out().print(console.text("nothing was moved" if result.declined else none))
        return
    _rows(result.travelled)


def _travelled(found: Travelled | None) -> Mapping[str, Any]:
    if found is None:
        return {"run": "", "vms": []}
    return {"run": found.run, "vms": encode(found.moves)}


def _rows(found: Travelled) -> None:
    for row in found.moves:
        symbol, style = SYMBOLS[row.state]
        line = console.text(f"{symbol} {row.guest}", style) + console.text(f" -> {row.destination}  {_how(row)}")
        console.out().print(line, soft_wrap=True)
        if row.error:
            findings.show_finding(row.error)
    if any(row.state != "done" for row in found.moves):
        console.err().print(console.text(f"go on with: novafleet resume {found.run}", "bold"), soft_wrap=True)


def _how(row: Moved) -> str:
    if row.outcome is None:
        return row.state
    return f"{row.outcome['mode']} by {row.outcome['path']}, {row.outcome['total_ms'] / 1000:.1f} s"


def maintenance(found: Maintenance, form: str) -> None:
    """One line, or ``{host, on, note}``."""
    if form != "table":
        console.document(encode(found), form)
        return
    said = f"is in maintenance: {found.note}" if found.on else "takes guests in"
    console.out().print(console.text(f"{found.host} {said}"), soft_wrap=True)


def weighed(found: Weighed, form: str) -> None:
    """What rebalancing would move, or its document."""
    if form != "table":
        console.document(weighed_document(found), form)
        return
    _moves(found.plan.moves, {name: terms.modes for name, terms in found.governing.terms.items()})
    _proof(found.plan)
    _unseen(found)


def _unseen(found: Weighed) -> None:
    """What the plan does not know."""
    for text in (*found.notes, *_silent(found.unseen)):
        console.err().print(console.text(text, "yellow"), soft_wrap=True)


def weighed_document(found: Weighed) -> Mapping[str, Any]:
    """The stable form."""
    modes = {name: terms.modes for name, terms in found.governing.terms.items()}
    return {
        "verb": "rebalance",
        **_plan(found.plan, modes),
        "resting": list(found.resting),
        "notes": list(found.notes),
        "unseen": {host: error.finding() for host, error in found.unseen.items()},
    }


def balanced(result: Balanced, form: str) -> None:
    """A line a guest, or the document with what became of each."""
    if form != "table":
        console.document({**weighed_document(result.weighed), **_travelled(result.travelled)}, form)
        return
    _unseen(result.weighed)
    if result.travelled is None:
        console.out().print(console.text("nothing was moved" if result.declined else result.weighed.plan.proof.text))
        return
    _rows(result.travelled)
