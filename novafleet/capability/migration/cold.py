"""A VM that is off, carried over: its image files as they are, with all that is inside, compared block by block."""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.route import Route
from novafleet.model.migration import Move


@dataclass(frozen=True, slots=True)
class Copied:
    """``total`` bytes of data the disks have, ``sent`` those that had to be carried; ``downtime_ms`` from the moment
    the guest stood still to the one it ran on the destination (-1: it was off before)."""

    total: int
    sent: int
    downtime_ms: float = -1.0


async def copy_cold(ends: Ends, move: Move, route: Route | None = None, *, stop_timeout: float = 120.0) -> Copied:
    """Shut the guest down (within ``stop_timeout`` seconds), carry its files over, define it and start it if it ran.

    ``prepare`` came before. Host to host over ``route``, else through the controller. What an earlier try brought is
    compared and not sent again. Raises MigrationError NF-MIG-410 (it would not shut down), -411 (what came differs),
    -412 (it was started meanwhile), BlockError, CommandError. After an error: ``rollback``.
    """
    raise NotImplementedError
