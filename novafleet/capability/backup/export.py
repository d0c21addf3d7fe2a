"""A disk export on a host as a source that survives lost connections: the export stays, and with it the moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from novafleet.errors import BackupError, BlockError, ChannelError, NovaFleetError, Retry, UnreachableError
from novafleet.model.backup import Extent
from novafleet.nbd.client import NbdClient, connect_nbd
from novafleet.nbd.protocol import ALLOCATION
from novafleet.ports import Clock, HostSession

LOST = BlockError.code
PATIENCE, SHORT_PATIENCE = 120.0, 10.0
"""Seconds in which a lost connection must come back, and in which a host that answers must let us at the socket."""
PAUSES = (0.2, 1.0, 3.0)
"""Seconds between tries; the last goes on."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a disk is exported: ``bitmap`` is the one whose dirty extents are asked for, or empty."""

    socket: str
    export: str
    bitmap: str = ""


class Export:
    """``ports.BlockSource``. Requests that a lost connection cut off are sent again on a new one.

    ``ended`` is asked before each new try: it answers why the export is gone for good, or "".
    """

    def __init__(
        self, session: HostSession, address: Address, clock: Clock, ended: Callable[[], Awaitable[str]]
    ) -> None:
        self._session = session
        self._address = address
        self._clock = clock
        self._ended = ended
        self._client: NbdClient | None = None
        self._connecting = asyncio.Lock()
        self.size = 0

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes. Raises BackupError NF-BAK-013 when the export ended, BlockError NF-NBD-*."""
        return await self._persistently(lambda client: client.read(offset, length))

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """What the range consists of."""
        return await self._persistently(lambda client: client.extents(offset, length))

    async def _persistently(self, ask: Callable[[NbdClient], Awaitable[T]]) -> T:
        while True:
            client = await self.connected()
            try:
                return await ask(client)
            except BlockError as error:
                if error.code != LOST:
                    raise
                await self._drop(client)

    async def connected(self) -> NbdClient:
        """The client, connecting again when it was lost."""
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
                self.size = self.size or self._client.size
            return self._client

    async def _connect(self) -> NbdClient:
        began, attempt = self._clock.monotonic(), 0
        while True:
            try:
                return await self._dial()
            except (UnreachableError, ChannelError, BlockError) as error:
                patience = SHORT_PATIENCE if isinstance(error, ChannelError) else PATIENCE
                await self._refuse_if_over(error, late=self._clock.monotonic() > began + patience)
            await self._clock.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    async def _dial(self) -> NbdClient:
        at = self._address
        contexts = (ALLOCATION, *([f"qemu:dirty-bitmap:{at.bitmap}"] if at.bitmap else []))
        return await connect_nbd(await self._session.open_unix(at.socket), at.export, contexts)

    async def _refuse_if_over(self, error: NovaFleetError, *, late: bool) -> None:
        if isinstance(error, BlockError) and error.code != LOST:
            raise error
        if not isinstance(error, UnreachableError) and (why := await self._why_ended()):
            raise BackupError(
                f"the export of {self._address.export} ended early: {why}",
                code="NF-BAK-013",
                where=self._session.host.name,
                cause=str(error),
                retry=Retry.NOW,
            ) from error
        if late:
            raise error

    async def _why_ended(self) -> str:
        try:
            return await self._ended()
        except UnreachableError:
            return ""

    async def _drop(self, client: NbdClient) -> None:
        async with self._connecting:
            if self._client is client:
                self._client = None
                await client.close()

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()


@asynccontextmanager
async def opened(
    session: HostSession, address: Address, clock: Clock, ended: Callable[[], Awaitable[str]]
) -> AsyncIterator[Export]:
    """An export, connected."""
    export = Export(session, address, clock, ended)
    try:
        await export.connected()
        yield export
    finally:
        await export.close()
