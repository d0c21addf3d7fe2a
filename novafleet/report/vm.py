"""Lists of VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from novafleet.model.encode import encode
from novafleet.model.facts import NO_ANSWER
from novafleet.report import console

if TYPE_CHECKING:
    from rich.text import Text

    from novafleet.app.vm import Listing, VmRow


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


def _state(vm: VmRow) -> Text:
    if vm.reason == NO_ANSWER:
        return console.text(f"{vm.state}, {vm.reason}", "red")
    return console.text(vm.state, "green" if vm.state == "running" else "yellow")
