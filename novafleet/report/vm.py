"""Lists of VMs, and what became of their power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.model.facts import NO_ANSWER
from novafleet.report import console, findings
from novafleet.report.console import size

if TYPE_CHECKING:
    from rich.text import Text

    from novafleet.app.party import Done, VmResult
    from novafleet.app.vm import Listing, VmRow
    from novafleet.app.vmshow import Details, VmDetail


def show(listing: Listing, form: str) -> None:
    """A table, or ``{vms: […], unreachable: {host: reason}}``."""
    if form != "table":
        console.document(encode(listing), form)
        return
    grid = console.table("", "NAME", "HOST", "STATE", "VCPUS", "MEMORY", "ENVIRONMENT")
    for vm in listing.vms:
        memory = f"{vm.memory / 1024**2:.0f} MiB"
        environment = console.text(vm.environment or "-")
        grid.add_row(console.text(vm.name), vm.host, _state(vm), str(vm.vcpus), memory, environment)
    console.out().print(grid)
    for host, reason in listing.unreachable.items():
        console.err().print(console.text(f"? {host} could not be observed: {reason}", "red"), soft_wrap=True)


def details(found: Details, form: str) -> None:
    """A block of lines a VM, or ``{vms: […], failed: {…}}``."""
    if form != "table":
        failed = {label: error.finding() for label, error in sorted(found.failed.items())}
        console.document({"vms": [_document(each) for each in found.vms], "failed": failed}, form)
        return
    for vm in found.vms:
        console.out().print(console.text(f"{vm.row.host}/{vm.row.name}  ", "bold") + _state(vm.row), soft_wrap=True)
        for name, text in _lines(vm):
            console.out().print(console.text(f"  {name:<12} ", "dim") + console.text(text), soft_wrap=True)
    for label, error in sorted(found.failed.items()):
        findings.show_finding({**error.finding(), "where": label})


def _document(vm: VmDetail) -> Mapping[str, Any]:
    found = encode(vm)
    return {**found.pop("row"), **found}


def _lines(vm: VmDetail) -> Iterator[tuple[str, str]]:
    own = vm.row
    yield "environment", f"{own.environment}/{vm.vm}" if own.environment else "- (not made by NovaFleet)"
    if vm.move:
        yield "migration", vm.move
    yield "addresses", ", ".join(vm.addresses) or "-"
    hardware = [f"{own.vcpus} vCPU ({vm.cpu or 'default'})", size(own.memory), vm.machine, vm.firmware]
    yield "hardware", ", ".join([*hardware, *(["starts with its host"] if vm.autostart else [])])
    for disk in vm.disks:
        sizes = f", {size(disk.capacity)}, takes {size(disk.allocation)}" if disk.capacity >= 0 else ""
        yield f"{disk.device} {disk.target}", f"{disk.path or 'empty'} ({disk.format}{sizes})"
    for nic in vm.nics:
        yield "nic", f"{nic.mac} on {nic.kind} {nic.source}"
    yield "uuid", own.uuid


def _state(vm: VmRow) -> Text:
    if vm.reason == NO_ANSWER:
        return console.text(f"{vm.state}, {vm.reason}", "red")
    return console.text(vm.state, "green" if vm.state == "running" else "yellow")


def switched(done: Done, form: str) -> None:
    """A line a VM and its error, or ``{verb, run, seconds, vms: […]}``."""
    if form != "table":
        frame = {"verb": done.verb, "run": done.run, "seconds": round(done.seconds, 3)}
        console.document({**frame, "vms": encode(done.vms)}, form)
        return
    for vm in done.vms:
        if vm.error is not None:
            findings.show_finding({**vm.error, "where": f"{vm.host}/{vm.domain}"})
        else:
            line = console.text(f"{vm.host}/{vm.domain}  ", "bold") + _became(done.verb, vm)
            console.out().print(line, soft_wrap=True)


def _became(verb: str, vm: VmResult) -> Text:
    said = vm.outcome
    if vm.state != "done":
        return console.text(f"{vm.state} {said.get('because', '')}", "yellow")
    if verb == "start":
        return console.text("was running" if said.get("adopted") else "started", "green")
    if "orderly" not in said:
        return console.text("was off" if verb == "stop" else "was off, started")
    how = "" if said["orderly"] else ", its plug pulled"
    return console.text(("off" if verb == "stop" else "restarted") + how, "" if said["orderly"] else "yellow")
