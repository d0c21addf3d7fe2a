"""What a stack's migration would be like: for people a few lines and what was found, for machines one document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console
from novafleet.report.console import size
from novafleet.report.dossier import gate_rows, print_finding

if TYPE_CHECKING:
    from novafleet.capability.migration.stackcheck import StackDossier

KEYS = ("job", "project", "environment", "source", "destination", "engine", "runs_by", "kind", "up")


def show(dossier: StackDossier, form: str) -> None:
    """Print it."""
    if form != "table":
        console.document(document(dossier), form)
        return
    move, out = dossier.move, console.out()
    out.print(console.text(f"{move.name}: {move.source} -> {move.destination}", "bold"))
    for line in _lines(dossier):
        out.print(console.text(f"  {line}"), soft_wrap=True)
    for finding in dossier.findings:
        print_finding(finding)


def document(dossier: StackDossier) -> Mapping[str, Any]:
    """The stable form: docs/reference/json.md."""
    move, seen = dossier.move, dossier.seen
    known = encode(move)
    return {
        "stack": move.name,
        **{key: known[key] for key in KEYS},
        "possible": dossier.possible,
        "bundle": seen.sizes.get("", 0),
        "volumes": [{"name": each.name, "bytes": seen.sizes.get(each.name, 0)} for each in move.volumes],
        "images": [{"name": each.name, "bytes": each.size, "present": each.present} for each in seen.images],
        "ports": list(seen.ports),
        "room": dict(seen.room),
        "link_rate": seen.link_rate,
        "bytes": dossier.bytes,
        "total_seconds": dossier.seconds,
        "downtime_ms": [1000 * each for each in dossier.downtime],
        "findings": encode(dossier.findings),
        "gates": gate_rows(dossier.gates),
    }


def _lines(dossier: StackDossier) -> Iterator[str]:
    move, seen = dossier.move, dossier.seen
    yield f"{move.engine} runs it now, {move.runs_by} will; {move.up} containers are up"
    if seen.link_rate:
        low, high = dossier.downtime
        yield f"{size(dossier.bytes)} to carry, at {size(int(seen.link_rate))}/s: about {dossier.seconds:.0f} s"
        yield f"down for {low:.0f} to {high:.0f} s" if move.up else "it is down, and stays so"
    for volume in move.volumes:
        yield f"volume {volume.name}: {size(seen.sizes.get(volume.name, 0))}"
    for image in seen.images:
        yield f"image {image.name}: {'there already' if image.present else f'{size(image.size)} to bring'}"
    for folder, free in seen.room.items():
        yield f"{size(free)} free in {folder} of {move.destination}"
