"""How an environment stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.text import Text

from novafleet.model.encode import encode
from novafleet.model.status import ResourceStatus
from novafleet.report import console

GOOD = frozenset({"running", "active", "present", "up"})
READY = {True: ("yes", "green"), False: ("no", "red"), None: ("-", "dim")}


def show(
    environment: str,
    resources: Sequence[ResourceStatus],
    form: str = "table",
    unreachable: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print the resources as a table, or as ``{environment, resources: […], unreachable: {host: reason}}``."""
    if form != "table":
        document = {"environment": environment, "resources": encode(resources), "unreachable": dict(unreachable)}
        console.document(document, form)
        return
    grid = console.table(environment, "KIND", "NAME", "HOST", "STATE", "READY", "DRIFT (applied / file / host)")
    for row in resources:
        ready, style = READY[row.ready]
        state = console.text(row.state, "green" if row.state in GOOD else "yellow")
        grid.add_row(row.kind, console.text(row.name), row.host, state, Text(ready, style), _drift(row))
    console.out().print(grid)
    for row in resources:
        if row.note:
            console.out().print(console.text(f"{row.address}: {row.note}", "dim"), soft_wrap=True)
    for host, reason in unreachable.items():
        console.err().print(console.text(f"? {host} could not be observed: {reason}", "red"), soft_wrap=True)


def _drift(row: ResourceStatus) -> Text:
    if not row.drift:
        return Text("-", "dim")
    lines = (
        f"{drift.field}: {drift.applied or '-'} / {drift.desired or '-'} / {drift.live or '-'} ({drift.kind})"
        for drift in row.drift
    )
    return console.text("\n".join(lines), "yellow")
