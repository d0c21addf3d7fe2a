"""What stays and why, what went, what waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novafleet.app.retention import Forgotten, Pruned
from novafleet.model.backup import Snapshot
from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.backup import vm_of
from novafleet.report.console import size
from novafleet.report.repo import say
from novafleet.report.runs import when
from novafleet.repository.collected import Collected
from novafleet.repository.records import Hold
from novafleet.repository.retention import Verdict
from novafleet.repository.trash import Trashed


def forgotten_document(done: Forgotten) -> dict[str, Any]:
    """The JSON of ``backup forget``."""
    unread = [{"id": each, "vm": "", "host": "", "at": 0.0, "keep": False, "reasons": []} for each in done.unread]
    return {"dry_run": done.dry, "snapshots": [*map(_verdict, done.verdicts), *unread]}


def _verdict(each: Verdict) -> dict[str, Any]:
    snapshot = each.snapshot
    facts = {"id": snapshot.id, "vm": snapshot.vm, "host": snapshot.host, "at": snapshot.at}
    return {**facts, "keep": each.keep, "reasons": list(each.reasons)}


def show_forgotten(done: Forgotten, form: str) -> None:
    """Every snapshot with its verdict."""
    if form != "table":
        console.document(forgotten_document(done), form)
        return
    _table(done)


def _table(done: Forgotten) -> None:
    grid = console.table("", "VM", "SNAPSHOT", "TIME", "", "REASONS")
    for each in done.verdicts:
        verdict = console.text("keep", "green") if each.keep else console.text("forget", "yellow")
        snapshot = each.snapshot
        reasons = console.text(", ".join(each.reasons))
        grid.add_row(console.text(vm_of(snapshot)), snapshot.id, when(snapshot.at), verdict, reasons)
    for name in done.unread:
        grid.add_row(console.text("(cannot be read)"), name, "-", console.text("forget", "yellow"), "")
    if grid.row_count:
        console.out().print(grid)
    verb, gone = "would be forgotten" if done.dry else "forgotten", len(done.forgotten)
    say(f"{gone + len(done.unread)} {verb}, {len(done.verdicts) - gone} kept", "bold")


def show_pruned(done: Pruned, form: str) -> None:
    """The verdicts, and what garbage collection did."""
    if form != "table":
        rounds = [encode(each) for each in done.rounds]
        document = {**forgotten_document(done.forgotten), "deleted_bytes": done.deleted_bytes, "rounds": rounds}
        console.document(document, form)
        return
    if done.forgotten.verdicts or done.forgotten.dry:
        _table(done.forgotten)
    for each in done.rounds:
        _round(each)


def _round(done: Collected) -> None:
    if done.deleted:
        say(f"deleted {len(done.deleted)} packs, {size(done.deleted_bytes)}", "green")
    if done.emptied:
        say(f"emptied the trash of {len(done.emptied)} snapshots")
    if done.condemned:
        say(f"condemned {len(done.condemned)} packs, {size(done.condemned_bytes)}: they go after the grace period")
    if done.repacked_bytes:
        say(f"stored {size(done.repacked_bytes)} again from packs that were mostly garbage")
    if done.missing:
        say(f"{done.missing} chunks that snapshots need are missing: novafleet repo check says which", "red")
    for each in done.waiting:
        say(f"waiting: {each}")
    if not (done.deleted or done.condemned or done.emptied or done.waiting):
        say("nothing to collect")


def show_trash(found: Sequence[tuple[Trashed, Snapshot | None]], form: str) -> None:
    """What can be brought back."""
    if form != "table":
        rows = [
            {"id": each.snapshot, "forgotten": each.at, "vm": snapshot.vm if snapshot else ""}
            for each, snapshot in found
        ]
        console.document({"trash": rows}, form)
        return
    grid = console.table("", "SNAPSHOT", "VM", "TIME", "FORGOTTEN")
    for each, snapshot in found:
        name, at = (snapshot.vm, when(snapshot.at)) if snapshot else ("(cannot be read)", "-")
        grid.add_row(console.text(each.snapshot), console.text(name), at, when(each.at))
    console.out().print(grid)


def show_back(found: Sequence[Snapshot], form: str) -> None:
    """Snapshots that left the trash."""
    if form != "table":
        console.document({"back": [each.id for each in found]}, form)
        return
    for each in found:
        say(f"snapshot {each.id} of {each.vm} is back")


def show_holds(found: Mapping[str, Hold], form: str) -> None:
    """What no policy forgets."""
    if form != "table":
        console.document({"holds": [encode(each) for each in found.values()]}, form)
        return
    grid = console.table("", "SNAPSHOT", "SINCE", "REASON")
    for each in found.values():
        grid.add_row(each.snapshot, when(each.at), console.text(each.reason))
    console.out().print(grid)


def show_released(ids: Sequence[str], form: str) -> None:
    """Holds that ended."""
    if form != "table":
        console.document({"released": list(ids)}, form)
        return
    for each in ids:
        say(f"snapshot {each} is no longer held")
