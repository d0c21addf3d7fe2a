"""The way back of a migration that failed: one VM on the source as before, nothing of the job on the destination."""

from __future__ import annotations

from novafleet.capability.migration.ends import Ends
from novafleet.model.migration import Move


async def rollback(ends: Ends, move: Move) -> None:
    """Destroy and undefine what this job brought to the destination, remove what its manifest says, and make the source
    what it was: files out of quarantine, definition, snapshots, autostart, running if it ran. Convergent.

    The caller has made sure that the source has the VM's data: never after a live switch-over. Raises MigrationError
    NF-MIG-502 when the destination's domain is not this job's, NF-MIG-503 when the source cannot run it again.
    """
    raise NotImplementedError
