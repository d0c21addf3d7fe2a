"""``jobs.Migrations`` over one host's libvirt; what is long has a connection of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress

from novafleet.errors import HypervisorError
from novafleet.hypervisor import migrations
from novafleet.hypervisor.session import Session
from novafleet.model.migration import Progress
from novafleet.ports import Channel

LETTING_GO = 30.0
"""Seconds libvirt gets to end a migration that was called off."""


class LibvirtMigrations:
    """The migrations of one host's domains. Method by method as ``jobs.Migrations`` says."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._call = session.call

    async def migrate(self, name: str, uri: str, parameters: Mapping[str, object], flags: frozenset[str]) -> None:
        """Migrate; libvirtd keeps at it when this connection ends, so a caller who goes away has it called off."""
        own = self._session.another()
        arguments = (name, self._session.host, uri, parameters, flags)
        call = asyncio.ensure_future(
            own.call(f"migrate domain {name}", migrations.migrate, *arguments, deadline=math.inf)
        )
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            with suppress(HypervisorError):  # post-copy has begun, or nobody hears us: it goes on without us
                await self.abort_migration(name)
                await asyncio.wait({call}, timeout=LETTING_GO)
            raise
        finally:
            await own.close()
            await asyncio.gather(call, return_exceptions=True)  # freed by the close; its word was heard above

    async def migration(self, name: str, *, completed: bool = False) -> Progress:
        """The job under way, or the last that ended."""
        return await self._call(f"read the migration of domain {name}", migrations.migration, name, completed)

    async def set_max_downtime(self, name: str, milliseconds: int) -> None:
        """How long the guest may stand still."""
        what = f"set the downtime of the migration of domain {name}"
        await self._call(what, migrations.set_max_downtime, name, self._session.host, milliseconds)

    async def set_migration_speed(self, name: str, bandwidth: int, *, postcopy: bool = False) -> None:
        """Bytes a second, in libvirt's whole MiB."""
        what = f"set the speed of the migration of domain {name}"
        await self._call(what, migrations.set_speed, name, self._session.host, bandwidth, postcopy)

    async def start_postcopy(self, name: str) -> None:
        """Switch over now."""
        what = f"switch domain {name} to post-copy"
        await self._call(what, migrations.start_postcopy, name, self._session.host)

    async def abort_migration(self, name: str) -> None:
        """Call it off."""
        what = f"end the migration of domain {name}"
        await self._call(what, migrations.abort, name, self._session.host)

    async def migratable_xml(self, name: str, *, inactive: bool = False) -> str:
        """What runs or is defined, as a destination needs it."""
        return await self._call(f"read domain {name}", migrations.migratable_xml, name, inactive)

    async def reach_daemon(self) -> Channel:
        """A byte stream to libvirt's daemon."""
        return await self._session.channel()
