"""The lease a backup holds while it writes: garbage collection deletes nothing a living lease may build upon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from novafleet.ports import Clock, ObjectStore


class Lease:
    """One writer's claim, the object ``leases/ID``."""

    def __init__(self, lease_id: str) -> None:
        self.id = lease_id

    async def protect(self, root: str) -> None:
        """Have garbage collection keep what the map ``root`` needs, from now on until the lease ends."""

    async def check(self) -> None:
        """Raise FencedError unless the lease is still ours."""


@asynccontextmanager
async def hold(store: ObjectStore, clock: Clock) -> AsyncIterator[Lease]:
    """Take a lease, renew it in the background, give it back."""
    yield Lease("")
