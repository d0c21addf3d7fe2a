"""A running VM's disks carried over while it runs; then a short stop, what changed meanwhile, and a start."""

from __future__ import annotations

from novafleet.capability.migration.cold import Copied
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.route import Route
from novafleet.model.migration import Move


async def copy_warm(ends: Ends, move: Move, route: Route | None = None, *, stop_timeout: float = 120.0) -> Copied:
    """Copy all disks from a frozen moment, then what changed, round by round; shut the guest down, copy the rest,
    define and start it on the destination. ``prepare`` came before.

    Raises what ``copy_cold`` raises, and MigrationError NF-MIG-413 when its disks cannot be read while it runs.
    """
    raise NotImplementedError
