"""The hypervisors of a fleet: one libvirt connection per host, closed together."""

from __future__ import annotations

import asyncio
from types import TracebackType

from novafleet.hypervisor.dial import Dialer
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.hypervisor.session import Session
from novafleet.model.fleet import Host
from novafleet.ports import Hypervisor, Sessions


class Connections:
    """Implements ``ports.Hypervisors``; leave it before the SSH sessions it runs over."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._open: dict[str, LibvirtHypervisor] = {}

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(*(hypervisor.close() for hypervisor in self._open.values()))

    async def get(self, host: Host) -> Hypervisor:
        """The hypervisor of a host. Nothing is dialled, and no error raised, before its first call."""
        if host.name not in self._open:
            self._open[host.name] = LibvirtHypervisor(Session(host.name, Dialer(self._sessions, host)))
        return self._open[host.name]
