"""Lists of VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from novafleet.model.encode import encode
from novafleet.report import console

if TYPE_CHECKING:
    from novafleet.app.vm import Listing


def show(listing: Listing, form: str) -> None:
    """A table, or ``{vms: […], unreachable: {host: reason}}``."""
    if form != "table":
        console.document(encode(listing), form)
        return
    grid = console.table("", "NAME", "HOST", "STATE", "VCPUS", "MEMORY", "ENVIRONMENT")
    for vm in listing.vms:
        state = console.text(vm.state, "green" if vm.state == "running" else "yellow")
        memory = f"{vm.memory / 1024**2:.0f} MiB"
        grid.add_row(console.text(vm.name), vm.host, state, str(vm.vcpus), memory, console.text(vm.environment or "-"))
    console.out().print(grid)
    for host, reason in listing.unreachable.items():
        console.err().print(console.text(f"? {host} could not be observed: {reason}", "red"), soft_wrap=True)
