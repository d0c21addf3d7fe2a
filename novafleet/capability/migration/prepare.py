"""What a VM needs on its destination before it comes, made there and nowhere else; taken back by what was written down."""

from __future__ import annotations

from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.manifest import Manifest
from novafleet.model.migration import Move


async def prepare(ends: Ends, move: Move) -> Manifest:
    """Make empty volumes (overlays on ``backing``; thin stays thin), bring base images, seed, kernel, firmware variables
    and TPM state, add DHCP leases. Convergent for one job; each thing is in the host's manifest before it exists.

    Raises MigrationError NF-MIG-401 when something of another is in the way (nothing was touched then), SpaceError
    NF-MIG-402, MigrationError NF-MIG-403 when what came is not what was sent.
    """
    raise NotImplementedError


async def unprepare(destination: End, job: str) -> tuple[str, ...]:
    """Remove what the manifest of ``job`` on that host says was made, if it still is the same thing; the paths.

    A job without a manifest there made nothing. Never touches a domain: undefine it before.
    """
    raise NotImplementedError
