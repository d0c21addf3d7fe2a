"""The record of a migration in the metadata of its domain, on both hosts (``plan/moving.py``)."""

from __future__ import annotations

from novafleet.errors import NotFoundError
from novafleet.plan.moving import MIGRATION_KEY, MIGRATION_NS, Moving, text
from novafleet.ports import Hypervisor


async def write(hypervisor: Hypervisor, domain: str, moving: Moving) -> bool:
    """Put the record on the domain of one host, over the one before. False where there is no such domain (the
    destination before the switch, the source after the commit)."""
    try:
        await hypervisor.set_metadata(domain, text(moving), key=MIGRATION_KEY, uri=MIGRATION_NS)
    except NotFoundError:
        return False
    return True
