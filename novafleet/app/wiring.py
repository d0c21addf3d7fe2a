"""Builds the adapters a use-case works with, and closes them together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from novafleet import xdg
from novafleet.app.passwords import password_of
from novafleet.errors import ConfigError
from novafleet.execute.fence import FencedSessions
from novafleet.inventory import load_fleet
from novafleet.transport.pool import SshPool

if TYPE_CHECKING:
    from novafleet.hypervisor.connect import Connections
    from novafleet.model.fleet import Fleet, Host
    from novafleet.ports import Clock, Hypervisor, Hypervisors, Sessions
    from novafleet.store.journal import Journal


class SystemClock:
    """Real time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Places:
    """Where this controller keeps what it must remember; everything under it is 0700."""

    state: Path
    known_hosts: Path

    @classmethod
    def of_user(cls) -> Places:
        """``~/.local/state/novafleet`` (``XDG_STATE_HOME``) and ``~/.config/novafleet/known_hosts``. Raises ConfigError
        NF-RUN-016."""
        state = xdg.state()
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                "runs cannot be recorded: the folder for that cannot be made",
                code="NF-RUN-016",
                where=str(state),
                cause=error.strerror or str(error),
                hints=("XDG_STATE_HOME=DIR novafleet …   # a folder of yours, on a local disk",),
            ) from error
        return cls(state, xdg.config() / "novafleet" / "known_hosts")

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.state / "journal.db"

    @property
    def acceleration(self) -> Path:
        """Which hosts' KVM proved to work since they booted."""
        return self.state / "acceleration.json"

    @property
    def locks(self) -> Path:
        """One lock file per environment."""
        return self.state / "locks"


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that a use-case may touch."""

    fleet: Fleet
    sessions: FencedSessions
    hypervisors: Hypervisors
    clock: Clock
    places: Places


class LibvirtOnDemand:
    """``ports.Hypervisors``; libvirt's adapter is loaded when first asked for: most verbs only run commands."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._made: Connections | None = None

    async def get(self, host: Host) -> Hypervisor:
        """The hypervisor of a host."""
        if self._made is None:
            from novafleet.hypervisor import connect

            self._made = connect.Connections(self._sessions)
        return await self._made.get(host)

    async def __aenter__(self) -> LibvirtOnDemand:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is not None:
            await self._made.__aexit__(kind, error, trace)


@asynccontextmanager
async def open_world(inventory: Sequence[Path]) -> AsyncIterator[World]:
    """Load the inventory and stand ready to connect; nothing is dialled before it is needed."""
    fleet = load_fleet(inventory)
    places = Places.of_user()
    async with (
        SshPool(fleet, known_hosts=places.known_hosts, passwords=password_of) as pool,
        LibvirtOnDemand(sessions := FencedSessions(pool)) as hypervisors,
    ):
        yield World(fleet, sessions, hypervisors, SystemClock(), places)


@asynccontextmanager
async def open_journal(places: Places) -> AsyncIterator[Journal]:
    """The journal of this controller; SQLite is loaded by the verbs that read it."""
    from novafleet.store.journal import Journal

    async with Journal(places.journal) as journal:
        yield journal
