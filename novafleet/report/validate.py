"""The result of ``validate``."""

from __future__ import annotations

from novafleet.app.validate import Validated
from novafleet.model.encode import encode
from novafleet.report import console


def show(validated: Validated, form: str) -> None:
    """One line for people, counts for machines."""
    if form != "table":
        console.document({"valid": True, **encode(validated)}, form)
        return
    counts = f"{validated.vms} VMs, {validated.stacks} stacks, {validated.networks} networks, {validated.images} images"
    hosts = ", ".join(validated.hosts)
    console.out().print(console.text(f"{validated.file}: valid. {validated.environment}: {counts} on {hosts}"))
