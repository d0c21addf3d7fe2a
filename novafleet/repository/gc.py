"""Which packs are on their way out, and how they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from novafleet.repository.repository import Repository


async def condemned(repository: Repository) -> frozenset[str]:
    """Names (hexadecimal) of packs that nothing new may build upon: they will be deleted."""
    return frozenset()
