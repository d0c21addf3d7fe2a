"""What garbage collection is told, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from novafleet.repository.index import Packed
from novafleet.repository.lease import STALE_AFTER, Lease

GRACE = 86400.0
"""Seconds a condemned pack lies there before it may be deleted, by the store's clock."""
REPACK_BELOW = 0.6
"""Share of a pack that must be needed; below it, what is needed is stored again elsewhere and the pack condemned."""

MERGE_ABOVE = 64
"""Small index objects there may be before they are written as one: each costs whoever opens the repository."""
Progress = Callable[[str, int, int], None]


class Contents(Protocol):
    """What collection needs to know of snapshots and index segments, and the key to it."""

    def references(self, key: str) -> AsyncIterator[Iterable[bytes]]:
        """Ids of all chunks the snapshot object at ``key`` needs, in batches; what a batch before named may be left
        out. Raises MissingObjectError, or RepositoryError when it or its map cannot be read."""

    def segments(self) -> AsyncIterator[tuple[str, Sequence[Packed]]]:
        """Every index object, newest first: its key and the packs it lists."""

    async def packed(self, name: str) -> Packed:
        """A pack as its own table lists it. Raises RepositoryError, MissingObjectError."""

    async def publish(self, lease: Lease, packs: Sequence[Packed]) -> None:
        """Add an index object."""

    async def repack(self, lease: Lease, needed: Mapping[str, Sequence[bytes]]) -> int:
        """Store these chunks of these packs again, durable and in the index; the bytes written."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient a collection is; seconds by the store's clock."""

    grace: float = GRACE
    stale_after: float = STALE_AFTER
    repack_below: float = REPACK_BELOW
    merge_above: int = MERGE_ABOVE


PATIENT = Rules()
"""What everybody uses who asks for nothing else."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one call did. ``waiting`` says what keeps condemned packs from being deleted; bytes are of whole packs."""

    epoch: int = 0
    condemned: tuple[str, ...] = ()
    condemned_bytes: int = 0
    deleted: tuple[str, ...] = ()
    deleted_bytes: int = 0
    emptied: tuple[str, ...] = ()
    """Snapshots that left the trash."""
    repacked_bytes: int = 0
    missing: int = 0
    """Chunks that snapshots need and no index lists: the repository is damaged."""
    waiting: tuple[str, ...] = ()
