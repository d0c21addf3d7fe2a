"""How long a guest may stand still at its switch-over: little at first, more only when it has to be. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from novafleet.model.migration import Progress

FIRST = 50
"""Milliseconds; nobody notices them. QEMU's own limit is 300."""
GROWTH = 1.5
PASSES = 2
"""Passes over the memory that a limit gets before it grows."""
PATIENCE = 20
"""Passes at the cap after which a guest that dirties its memory as fast as it is copied will never be through."""
HOPELESS = 0.8


@dataclass(slots=True)
class Budget:
    """The limit of one migration, in milliseconds, never above ``cap``."""

    cap: int
    limit: int = 0
    _since: int = 0

    def __post_init__(self) -> None:
        self.limit = min(FIRST, self.cap)

    def raised(self, now: Progress) -> bool:
        """Has the limit just grown? It does when two more passes over the memory left more than fits into it."""
        stuck = now.iteration - self._since >= PASSES and now.memory_remaining > self._fits(now)
        if not stuck or self.limit >= self.cap:
            return False
        self.limit = min(self.cap, math.ceil(self.limit * GROWTH))
        self._since = now.iteration
        return True

    def hopeless(self, now: Progress) -> bool:
        """Will it never be through? At the cap for long, and dirtying what is copied."""
        long = self.limit >= self.cap and now.iteration - self._since >= PATIENCE
        return long and now.memory_remaining > self._fits(now) and now.dirty_rate >= HOPELESS * now.rate

    def _fits(self, now: Progress) -> float:
        return now.rate * self.limit / 1000
