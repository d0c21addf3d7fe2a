"""What ``lab`` tells a person while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """Readable steps, one a line, from any thread. ``tell`` prints a line."""

    tell: Callable[[str], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """One line."""
        with self._lock:
            self.tell(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what begins, and how long it took when it ended well."""
        self.say(f"  {text} …")
        began = time.monotonic()
        yield
        self.say(f"  {text}: done in {time.monotonic() - began:.1f} s")
