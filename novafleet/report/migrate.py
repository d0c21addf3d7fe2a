"""What became of migrations."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings

if TYPE_CHECKING:
    from novafleet.app.migrate import Done, VmMove

STATES = {
    "done": ("✓", "green"),
    "rolled-back": ("↩", "yellow"),
    "unverified": ("!", "red"),
    "unclear": ("?", "red"),
    "failed": ("✗", "red"),
}


def done(result: Done, form: str) -> None:
    """A line a VM with its downtimes, or JSON: of a single VM its outcome itself, else ``{run, vms: […]}``."""
    if form != "table":
        console.document(document(result), form)
    for vm in result.vms:
        if form == "table":
            _line(vm)
        if vm.error is not None:
            findings.show_finding(vm.error)


def document(result: Done) -> Mapping[str, Any]:
    """The stable form. A VM: vm, source, destination, mode, path, total_ms, downtime_ms, verified, undo_until, and how
    it was measured; one that did not move: its ``state`` and ``error``."""
    rows = [_row(vm) for vm in result.vms]
    return rows[0] if result.single and rows else {"run": result.run, "declined": result.declined, "vms": rows}


def _row(vm: VmMove) -> Mapping[str, Any]:
    names = {"vm": vm.vm, "domain": vm.domain, "source": vm.source, "destination": vm.destination, "state": vm.state}
    return {**names, **(encode(vm.outcome) if vm.outcome else {}), **({"error": vm.error} if vm.error else {})}


def _line(vm: VmMove) -> None:
    symbol, style = STATES[vm.state]
    line = console.text(f"{symbol} {vm.domain}", style) + console.text(f"  {vm.source} -> {vm.destination}")
    found = vm.outcome
    if found is not None:
        line += console.text(f"  {found.mode.value} by {found.path.value}, {found.total_ms / 1000:.1f} s", "dim")
        measured = ", ".join(f"{each:.0f} ms ({who})" for who, each in found.downtimes.items())
        line += console.text(f", still for {measured}" if measured else "", "dim")
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.undo_until)) if found.undo_until else ""
        line += console.text(f", undo until {until}" if until else "", "dim")
        met = ", ".join(f"{each.gate} after {each.seconds:.1f} s" for each in found.gates)
        line += console.text(f", gates met: {met}" if met else "", "dim")
    console.out().print(line, soft_wrap=True)
    for tried in found.tried if found else ():
        console.err().print(console.text(f"  {tried['mode']} did not work: {tried['why']}", "yellow"), soft_wrap=True)
