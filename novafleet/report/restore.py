"""Restores: what was brought back, and where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings
from novafleet.report.console import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from novafleet.app.drill import Drilled
    from novafleet.app.restore import VmRestored
    from novafleet.app.restorefile import FileRestored


def show_file(done: FileRestored, form: str) -> None:
    """One line; or ``{snapshot, disk, path, format, size, written}``."""
    if form != "table":
        console.document(encode(done), form)
        return
    line = f"{done.disk} of {done.snapshot} is in {done.path}: {size(done.size)}, {size(done.written)} of it data"
    console.out().print(console.text(line, "bold"), soft_wrap=True)


def show_vm(done: VmRestored, form: str) -> None:
    """A line per disk, what is not as it was, one line in all; or ``document``."""
    if form != "table":
        console.document(document(done), form)
        return
    if done.error:
        findings.show_finding({**done.error, "where": done.error["where"] or done.host})
    for disk in done.vm.get("disks", ()):
        line = f"{disk['name']}: {done.host}:{disk['path']}, {size(disk['size'])}, {size(disk['written'])} of it data"
        console.out().print(console.text(line), soft_wrap=True)
    for note in done.vm.get("notes", ()):
        console.err().print(console.text(note, "yellow"), soft_wrap=True)
    console.out().print(console.text(_summary(done), "bold"), soft_wrap=True)


def show_drill(done: Drilled, form: str) -> None:
    """What each gate saw, one line in all; or ``{vm, snapshot, host, ok, rto, rpo, gates, run, error}``."""
    if form != "table":
        console.document(encode(done), form)
        return
    if done.error:
        findings.show_finding({**done.error, "where": done.error["where"] or done.host})
    for gate, evidence in done.gates.items():
        console.out().print(console.text(f"{gate}: {evidence}"), soft_wrap=True)
    verdict = f"proven on {done.host}: back {done.rto:.0f} s after the decision" if done.ok else "NOT proven"
    line = f"{done.vm}, snapshot {done.snapshot}: {verdict}; {done.rpo / 3600:.1f} h old"
    console.out().print(console.text(line, "bold" if done.ok else "bold red"), soft_wrap=True)


def document(done: VmRestored) -> Mapping[str, Any]:
    """``{run, snapshot, host, state, seconds, error, name, uuid, disks: […], macs, started, notes}``."""
    frame = {"run": done.run, "snapshot": done.snapshot, "host": done.host, "state": done.state}
    return {**frame, "seconds": round(done.seconds, 3), "error": done.error, **done.vm}


def _summary(done: VmRestored) -> str:
    if done.state != "done":
        return f"not restored: {done.state}; run {done.run}" if done.run else "not restored"
    state = "running" if done.vm.get("started") else "off"
    return f"{done.vm.get('name')} is on {done.host}, {state}; {done.seconds:.1f} s; run {done.run}"
