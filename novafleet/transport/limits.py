"""What a server takes at once, learnt from its refusals: logins (MaxStartups) and sessions (MaxSessions)."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from novafleet.errors import ChannelError

log = logging.getLogger(__name__)

HANDSHAKES_PER_SSHD = 8
"""sshd drops logins at random from the 10th unauthenticated one on (MaxStartups 10:30:100, sshd_config(5))."""

HANDSHAKES = 64
CHANNELS = 8
"""sshd serves 10 sessions a connection (MaxSessions); two are left for kills and probes."""

PATIENCE = 60.0
"""Seconds to wait for a session on a server that takes fewer than ``CHANNELS``."""

DROPS = 8
"""How often a login that was dropped before authentication is tried again."""


LINGERING = (0.05, 0.1, 0.2, 0.4)
"""Seconds between tries when the server refuses a session, before that is believed: one of ours that has ended here may
count there a moment longer, and a limit learnt too low would never grow again."""
ALONE = (0.5,) * 10
"""The same where none of ours is open any more: a busy host takes its time to notice that they ended."""


@dataclass(slots=True)
class Gate:
    """A semaphore whose size shrinks when the other side refuses."""

    size: int
    used: int = 0
    shrunk: bool = False
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def acquire(self) -> None:
        """Wait for a free place, first come first served."""
        while self.used >= self.size:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        self.used += 1

    def release(self) -> None:
        """Give a place back."""
        self.used -= 1
        self._wake()

    def shrink(self, size: int) -> None:
        """The other side refused: never more than ``size`` (at least 1) at once from now on."""
        self.size = max(1, min(self.size, size))
        self.shrunk = True

    def _wake(self) -> None:
        while self._waiting and self.used < self.size:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


@dataclass(slots=True)
class SessionGate:
    """Places for sessions on one connection."""

    where: str
    gate: Gate = field(default_factory=lambda: Gate(CHANNELS))

    async def enter(self) -> None:
        """Wait for a place. Raises ChannelError NF-SSH-401 when a small server stays full."""
        told = asyncio.get_running_loop().call_later(PATIENCE, self._tell)
        try:
            async with asyncio.timeout(PATIENCE if self.gate.shrunk else None):
                await self.gate.acquire()
        except TimeoutError as exc:
            raise ChannelError(
                f"all {self.gate.size} sessions the server allows were in use for {PATIENCE:.0f} s",
                code="NF-SSH-401",
                where=self.where,
                hints=("raise MaxSessions in the host's /etc/ssh/sshd_config to 10, then `systemctl reload ssh`",),
            ) from exc
        finally:
            told.cancel()

    def _tell(self) -> None:
        if not self.gate.shrunk:  # then it is an error
            text = "%s: all %d sessions have been in use for %.0f s; waiting for one"
            log.warning(text, self.where, self.gate.size, PATIENCE)

    def leave(self) -> None:
        """Give the place back."""
        self.gate.release()

    def refused(self) -> bool:
        """The server refused the session we hold a place for; True when waiting for another to end can help."""
        others = self.gate.used - 1
        if others:
            self.gate.shrink(others)
        self.gate.release()
        return others > 0


@dataclass(slots=True)
class Handshakes:
    """Logins in flight: per sshd, and over all."""

    _all: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HANDSHAKES))
    _gates: dict[tuple[str, int], Gate] = field(default_factory=dict)

    @asynccontextmanager
    async def slot(self, sshd: tuple[str, int]) -> AsyncIterator[None]:
        """Hold one login slot of an sshd."""
        gate = self._gates.setdefault(sshd, Gate(HANDSHAKES_PER_SSHD))
        await gate.acquire()
        try:
            async with self._all:
                yield
        finally:
            gate.release()

    def dropped(self, sshd: tuple[str, int]) -> None:
        """That sshd dropped a login before authentication: ask for less at once."""
        gate = self._gates[sshd]
        gate.shrink(gate.used - 1)


def raise_descriptor_limit() -> None:
    """Let this process hold as many connections as its hard limit allows; 1,024 files is the usual soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pause(attempt: int) -> float:
    """Seconds before login ``attempt`` (from 1) is repeated: doubling, jittered, at most 4."""
    return min(4.0, 0.1 * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not a secret
