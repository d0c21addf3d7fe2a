"""How many VMs are read at once whose disks lie on one datastore: a file system, local or not, or a block device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from novafleet.capability.backup.xml import disks_of
from novafleet.errors import BackupError
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.ports import HostSession

SOURCES = 'df --output=source -- "$@" | sed 1d'


class Datastores:
    """One for a run; ``limit`` 0 lets everybody in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, session: HostSession, domain: Domain) -> AsyncIterator[tuple[str, ...]]:
        """A place on each datastore of a VM, waited for in one order so that nobody waits in a circle; their names."""
        names = await datastores(session, domain) if self._limit else ()
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self._places.setdefault(name, asyncio.Semaphore(self._limit)))
            yield names


async def datastores(session: HostSession, domain: Domain) -> tuple[str, ...]:
    """Where its disks lie: ``HOST:/dev/sda1``, ``HOST:/dev/vg``, or ``SERVER:/EXPORT`` whatever host mounts it."""
    try:
        disks = [disk for disk in disks_of(domain.xml) if not disk.skip and disk.path]
    except BackupError:  # the backup itself says it better
        return ()
    files = sorted(disk.path for disk in disks if disk.kind == "file")
    devices = {f"{session.host.name}:{disk.path.rpartition('/')[0]}" for disk in disks if disk.kind == "block"}
    return tuple(sorted(devices | await _sources(session, files)))


async def _sources(session: HostSession, paths: Sequence[str]) -> set[str]:
    if not paths:
        return set()
    said = await session.run(Command.script(SOURCES, *paths, become=True), check=False, timeout=60.0)
    found = {line.strip() for line in said.text.splitlines() if line.strip()}
    return {source if ":" in source else f"{session.host.name}:{source}" for source in found}
