"""Snapshots as tables and trees, and what became of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

from novafleet.model.encode import encode
from novafleet.report import console, findings
from novafleet.report.console import size

if TYPE_CHECKING:
    from novafleet.app.party import Done, VmResult
    from novafleet.app.snapshotimport import Imported
    from novafleet.app.snapshotview import Listing, SnapshotRow, VmSnapshots


def show(listing: Listing, form: str) -> None:
    """A table, or ``{vms: [{vm, domain, host, snapshots: […]}], failed: {…}}``."""
    if form != "table":
        console.document(document(listing), form)
        return
    grid = console.table("", "VM", "SNAPSHOT", "MADE", "MODE", "SIZE", "TAGS", "EXPIRES", "DESCRIPTION")
    for vm in listing.vms:
        for row in vm.snapshots:
            grid.add_row(console.text(f"{vm.host}/{vm.domain}"), *_cells(row))
    console.out().print(grid)
    _troubles(listing)


def _cells(row: SnapshotRow) -> tuple[Text, ...]:
    name = console.text(row.name, "bold" if row.current else "") + console.text(" *" if row.current else "")
    expires = "held" if row.hold else _when(row.expires) if row.expires else "-"
    words = (_when(row.made), row.mode or row.kind, size(row.size), ", ".join(row.tags) or "-", expires, row.text)
    return (name, *(console.text(word) for word in words))


def tree(listing: Listing, form: str) -> None:
    """A tree a VM: branches where it was gone back."""
    if form != "table":
        console.document(document(listing), form)
        return
    for vm in listing.vms:
        console.out().print(_tree(vm))
    _troubles(listing)


def _tree(vm: VmSnapshots) -> Tree:
    root = Tree(console.text(f"{vm.host}/{vm.domain} ({vm.state})", "bold"))
    nodes: dict[str, Tree] = {}
    for row in vm.snapshots:  # parents come first
        nodes[row.name] = nodes.get(row.parent, root).add(_leaf(row))
        if row.current:
            nodes[row.name].add(console.text("you are here", "green"))
    return root


def _leaf(row: SnapshotRow) -> Text:
    label = console.text(row.name, "bold") + console.text(f"  {_when(row.made)}, {row.mode or row.kind}", "dim")
    if row.size:
        label += console.text(f", {size(row.size)}", "dim")
    return label + console.text(f"  {row.text.splitlines()[0]}" if row.text else "")


def detail(listing: Listing, form: str) -> None:
    """All that is known of one snapshot of each VM."""
    if form != "table":
        console.document(document(listing), form)
        return
    for vm in listing.vms:
        for row in vm.snapshots:
            _detail(vm, row)
    _troubles(listing)


def _detail(vm: VmSnapshots, row: SnapshotRow) -> None:
    fell = f" (asked for {row.asked}: {row.why})" if row.asked else ""
    lines = {
        "snapshot": f"{vm.host}/{vm.domain} {row.name}" + (" (current)" if row.current else ""),
        "made": _when(row.made),
        "mode": f"{row.mode or row.kind}{fell}",
        "kind": f"{row.kind}: {row.choice}" if row.choice else row.kind,
        "parent": row.parent or "-",
        "size": size(row.size),
        "tags": ", ".join(row.tags) or "-",
        "expires": "held" if row.hold else _when(row.expires) if row.expires else "never",
        "group": row.group or "-",
        "memory": row.memory or "-",
        **{f"disk {name}": path for name, path in (row.images or {}).items()},
        "description": row.text or "-",
    }
    for name, text in lines.items():
        console.out().print(console.text(f"{name:<12} ", "dim") + console.text(text), soft_wrap=True)


def document(listing: Listing) -> Mapping[str, Any]:
    """The machine-readable form."""
    return {
        "vms": encode(listing.vms),
        "failed": {label: error.finding() for label, error in sorted(listing.failed.items())},
    }


def _troubles(listing: Listing) -> None:
    for vm in listing.vms:
        if vm.unfinished:
            text = (
                f"{vm.host}/{vm.domain}: a removal was cut off; novafleet snapshot prune {vm.host}/{vm.domain} ends it"
            )
            console.err().print(console.text(text, "yellow"), soft_wrap=True)
    for label, error in sorted(listing.failed.items()):
        findings.show_finding({**error.finding(), "where": label})


def done(finished: Done, form: str) -> None:
    """What became of a run: a line a VM and its error, or ``{verb, run, group, skew_ms, vms: […]}``."""
    if form != "table":
        console.document(_done(finished), form)
        return
    for vm in finished.vms:
        if vm.error is not None:
            findings.show_finding({**vm.error, "where": f"{vm.host}/{vm.domain}"})
        else:
            console.out().print(_line(finished.verb, vm), soft_wrap=True)
    if finished.left_out:
        text = f"without a disk to snapshot, and left out: {', '.join(finished.left_out)}"
        console.err().print(console.text(text, "yellow"), soft_wrap=True)
    if finished.skew_ms is not None and finished.group:
        text = f"{len(finished.vms)} snapshots within {finished.skew_ms:g} ms"
        console.out().print(console.text(text, "bold"), soft_wrap=True)


def _line(verb: str, vm: VmResult) -> Text:
    said = vm.outcome
    line = console.text(f"{vm.host}/{vm.domain}  ", "bold")
    if vm.state != "done":
        return line + console.text(f"{vm.state} {said.get('because', '')}", "yellow")
    if verb == "create":
        fell = f" ({said['why']})" if said.get("why") else ""
        return line + console.text(f"{said['snapshot']}  {said['mode']}{fell}")
    if verb == "revert":
        safety = f"; what it was: {said['safety']}" if said.get("safety") else ""
        return line + console.text(f"is at {said['snapshot']}{safety}")
    if verb == "export":
        snapshots = ", ".join(said["snapshots"]) or "none"
        return line + console.text(
            f"{said['path']}: {size(int(said['bytes']))}, {said['mode']}; snapshots: {snapshots}"
        )
    removed = ", ".join(said.get("removed", ())) or "nothing"
    if said.get("foretold"):
        return line + console.text(f"would remove {removed}")
    return line + console.text(f"removed {removed}; merged {size(int(said.get('merged', 0)))}")


def imported(done: Imported, form: str) -> None:
    """Its disks, what is not as it was, one line in all; or ``{run, archive, host, state, seconds, error, name, uuid,
    disks, snapshots, macs, started, notes}``."""
    if form != "table":
        frame = {"run": done.run, "archive": done.archive, "host": done.host, "state": done.state}
        console.document({**frame, "seconds": round(done.seconds, 3), "error": done.error, **done.vm}, form)
        return
    if done.error:
        findings.show_finding({**done.error, "where": done.error["where"] or done.host})
    for name, path in done.vm.get("disks", {}).items():
        console.out().print(console.text(f"{name}: {done.host}:{path}"), soft_wrap=True)
    for note in done.vm.get("notes", ()):
        console.err().print(console.text(note, "yellow"), soft_wrap=True)
    text = f"not imported: {done.state}"
    if done.state == "done":
        snapshots = ", ".join(done.vm["snapshots"]) or "none"
        text = f"{done.vm['name']} is on {done.host}; snapshots: {snapshots}; {done.seconds:.1f} s; run {done.run}"
    console.out().print(console.text(text, "bold"), soft_wrap=True)


def _done(finished: Done) -> Mapping[str, Any]:
    return {
        "verb": finished.verb,
        "run": finished.run,
        "group": finished.group,
        "skew_ms": finished.skew_ms,
        "seconds": round(finished.seconds, 3),
        "left_out": list(finished.left_out),
        "vms": encode(finished.vms),
    }


def _when(at: float) -> str:
    local = time.localtime().tm_gmtoff or 0
    try:
        return f"{datetime.fromtimestamp(at + local, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "beyond 9999"
