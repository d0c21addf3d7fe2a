"""The second step: the source lets go of a VM seen to run on its destination, and keeps its disks for a while."""

from __future__ import annotations

from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.quarantine import Quarantine
from novafleet.model.migration import Mode, Move

DAY = 86400.0


async def commit(ends: Ends, move: Move, mode: Mode, *, ttl: float = DAY) -> Quarantine:
    """Undefine the source, its files renamed into quarantine for ``ttl`` seconds; snapshots, checkpoints, autostart and
    leases follow. Convergent: a killed one is gone on with by calling it again.

    Only for a VM seen running on the destination (or defined there, when it was off). Raises MigrationError NF-MIG-501
    when it is not there, or still runs here.
    """
    raise NotImplementedError
