"""A host in maintenance takes nobody in. Pure."""

from __future__ import annotations

from dataclasses import replace

from novafleet.capability.migration.findings import blocker
from novafleet.model.migration import Dossier

CLOSED = "NF-MIG-620"


def heed(dossier: Dossier, maintenance: str | None) -> Dossier:
    """The dossier with a blocker and without a ladder when the destination is in ``maintenance`` (its file's text)."""
    if maintenance is None:
        return dossier
    host = dossier.move.destination
    note = f" ({maintenance})" if maintenance else ""
    found = blocker(CLOSED, f"{host} is in maintenance{note}", f"novafleet host maintenance off {host}")
    return replace(dossier, findings=(found, *dossier.findings), move=replace(dossier.move, ladder=()))
