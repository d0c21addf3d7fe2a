"""Backups: what a run did, what a repository holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from novafleet.app.backedup import BackedUp, DiskBackup, VmBackup
from novafleet.app.stored import Difference, Stored, Verification
from novafleet.model.backup import Snapshot
from novafleet.model.encode import encode
from novafleet.report import console, findings
from novafleet.report.console import size
from novafleet.repository.records import Proof

WELL = frozenset(("done", "planned"))
STYLES = {"done": "green", "planned": "green", "failed": "red", "unreachable": "red", "cancelled": "yellow"}


def show_run(done: BackedUp, form: str) -> None:
    """A line per disk and one in all; or ``{run, repository, vms: […]}``."""
    if form != "table":
        console.document(run_document(done), form)
        return
    for vm in done.vms:
        if vm.error:
            findings.show_finding({**vm.error, "where": vm.error["where"] or vm.host})
    grid = console.table("", "VM", "HOST", "STATE", "SNAPSHOT", "DISK", "MODE", "SIZE", "READ", "STORED", "WHY")
    for vm in done.vms:
        _add_vm(grid, vm)
    console.out().print(grid)
    for line in _remarks(done):
        console.err().print(console.text(line, "yellow"), soft_wrap=True)
    console.out().print(console.text(_summary(done), "bold"), soft_wrap=True)


def _remarks(done: BackedUp) -> Iterator[str]:
    """What held a backup up, and what scripts had against it."""
    for vm in done.vms:
        yield from (f"{vm.vm}: {warning}" for warning in vm.warnings)
        if vm.paused:
            yield f"{vm.vm}: reading paused {vm.paused:.1f} s for the guest's sake"
        if vm.datastores:
            yield f"{vm.vm}: had its turn on {', '.join(vm.datastores)}"


def _add_vm(grid: Any, vm: VmBackup) -> None:
    first = [console.text(vm.vm or "?"), vm.host, console.text(vm.state, STYLES.get(vm.state, "")), vm.snapshot or "-"]
    bare = ["-", "definition", "", "", "", "it has no disk to copy"] if vm.state in WELL else [""] * 6
    for disk in vm.disks or (None,):
        grid.add_row(*first, *(_disk(disk) if disk else bare))
        first = ["", "", "", ""]


def _disk(disk: DiskBackup) -> list[Any]:
    sizes = [size(each) for each in (disk.size, disk.bytes_read, disk.bytes_stored)]
    return [console.text(disk.name), disk.mode, *sizes, console.text(disk.why)]


def _summary(done: BackedUp) -> str:
    disks = [disk for vm in done.vms for disk in vm.disks]
    well = sum(vm.state in WELL for vm in done.vms)
    verb = "would be backed up" if not done.run else "backed up"
    read, stored = sum(disk.bytes_read for disk in disks), sum(disk.bytes_stored for disk in disks)
    text = f"{well} of {len(done.vms)} VMs {verb}; {size(read)} read"
    return text if not done.run else f"{text}, {size(stored)} stored in {done.seconds:.1f} s; run {done.run}"


def run_document(done: BackedUp) -> Mapping[str, Any]:
    """The machine-readable form, as ``docs/reference/json.md`` says."""
    return {
        "run": done.run,
        "repository": done.repository,
        "seconds": round(done.seconds, 3),
        "vms": [{**encode(vm), "seconds": round(vm.seconds, 3)} for vm in done.vms],
    }


def show_list(stored: Stored, form: str) -> None:
    """A table, or ``{snapshots: […], errors: […]}``; what cannot be read is an error."""
    errors = [error.finding() for error in stored.damage]
    for error in errors:
        findings.show_finding(error)
    if form != "table":
        console.document({"snapshots": [document(each) for each in stored.snapshots], "errors": errors}, form)
        return
    grid = console.table("", "SNAPSHOT", "TIME", "VM", "HOST", "CONSISTENCY", "DISKS", "SIZE", "STORED", "TAGS")
    for each in stored.snapshots:
        modes = ", ".join(f"{disk.name} {disk.mode.value}" for disk in each.disks.values())
        row: list[Any] = [each.id, _when(each.at), console.text(vm_of(each)), each.host, each.consistency.value]
        tags = console.text(" ".join(each.tags))
        grid.add_row(*row, console.text(modes), size(each.size), size(each.bytes_stored), tags)
    console.out().print(grid)


def vm_of(snapshot: Snapshot) -> str:
    """A VM as people call it."""
    return f"{snapshot.environment}/{snapshot.vm}" if snapshot.environment else snapshot.domain


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def document(snapshot: Snapshot) -> Mapping[str, Any]:
    """A snapshot as data: all its fields, ``time`` in ISO 8601, ``size`` and ``bytes_stored`` in all."""
    told = {**encode(snapshot), "disks": [encode(disk) for disk in snapshot.disks.values()]}
    time = datetime.fromtimestamp(snapshot.at, UTC).isoformat(timespec="seconds")
    return {**told, "time": time, "size": snapshot.size, "bytes_stored": snapshot.bytes_stored}


def show_snapshot(snapshot: Snapshot, proofs: Sequence[Proof], form: str) -> None:
    """One snapshot whole, and what was tried with it."""
    if form != "table":
        console.document({**document(snapshot), "proofs": [encode(each) for each in proofs]}, form)
        return
    about = f"{snapshot.id}  {vm_of(snapshot)} on {snapshot.host}, {_when(snapshot.at)}, {snapshot.consistency.value}"
    console.out().print(console.text(about, "bold"), soft_wrap=True)
    grid = console.table("", "DISK", "TARGET", "MODE", "SIZE", "READ", "STORED", "WHY")
    for disk in snapshot.disks.values():
        sizes = [size(each) for each in (disk.size, disk.bytes_read, disk.bytes_stored)]
        grid.add_row(console.text(disk.name), disk.target, disk.mode.value, *sizes, console.text(disk.why))
    console.out().print(grid)
    files = ", ".join(f"{name} ({size(blob.size)})" for name, blob in snapshot.files.items())
    console.out().print(console.text(f"files: {files or 'none'}"), soft_wrap=True)
    if snapshot.parent:
        console.out().print(console.text(f"read against {snapshot.parent}; restored without it"), soft_wrap=True)
    for each in proofs:
        said = f"proven, back after {each.seconds:.0f} s" if each.ok else f"NOT proven: {each.facts.get('error', '')}"
        where = f" on {each.facts['host']}" if "host" in each.facts else ""
        line = f"{each.kind}{where}, {_when(each.at)}: {said}"
        console.out().print(console.text(line, "" if each.ok else "bold red"), soft_wrap=True)


def show_difference(difference: Difference, form: str) -> None:
    """Bytes per disk."""
    if form != "table":
        console.document(encode(difference), form)
        return
    grid = console.table("", "DISK", "SIZE BEFORE", "SIZE", "CHANGED")
    for disk in difference.disks:
        changed = size(disk.changed) + (f" (only in {disk.only})" if disk.only else "")
        grid.add_row(console.text(disk.name), size(disk.size_before), size(disk.size), changed)
    console.out().print(grid)


def show_verified(done: Sequence[Verification], form: str) -> None:
    """What was read back, with digests; or ``{snapshots: [{snapshot, parts: […]}]}``."""
    if form != "table":
        console.document({"snapshots": encode(done)}, form)
        return
    grid = console.table("", "SNAPSHOT", "PART", "SIZE", "SHA-256")
    for each in done:
        for part in each.parts:
            grid.add_row(each.snapshot, console.text(part.name), size(part.size), part.sha256 or "cannot be read")
            if part.error:
                findings.show_finding(part.error)
    console.out().print(grid)


class Reading(AbstractContextManager["Reading"]):
    """A bar per disk on a terminal, with rate and time to go; elsewhere nothing."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
        self._progress = Progress(
            *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console.err(), transient=True
        )
        live = console.err().is_terminal
        self._context: AbstractContextManager[object] = self._progress if live else nullcontext()
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Reading:
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def __call__(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done)
