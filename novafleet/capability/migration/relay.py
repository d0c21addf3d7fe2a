"""The data path through the controller: sockets on the source that lead over both SSH connections to the destination's.

Nothing changes on either host but a folder of sockets in /run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from novafleet.capability.migration.ends import End
from novafleet.errors import NovaFleetError
from novafleet.model.command import Command
from novafleet.ports import Channel

PIECE = 1 << 20
CHOWN = 'chown "$@"'
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Lane:
    """One socket of a route: a path or a loopback port, the same on both hosts. ``daemon``: on the destination it is
    libvirt's own."""

    at: str | int
    daemon: bool = False


@dataclass(slots=True)
class Complaints:
    """What went wrong inside a route; QEMU and libvirt only see a connection that ends."""

    heard: list[NovaFleetError] = field(default_factory=list)

    @property
    def last(self) -> str:
        """In words; "" for nothing."""
        return str(self.heard[-1]) if self.heard else ""


@asynccontextmanager
async def relayed(
    source: End, destination: End, lanes: Sequence[Lane], owner: str, complaints: Complaints
) -> AsyncIterator[None]:
    """Listen on the source for as long as this lasts. Sockets are given to ``owner``. Raises ChannelError where sshd
    does not forward."""
    async with AsyncExitStack() as stack:
        for lane in lanes:
            await stack.enter_async_context(_listening(source, destination, lane, complaints))
        sockets = [lane.at for lane in lanes if isinstance(lane.at, str)]
        await source.session.run(Command.script(CHOWN, owner, *sockets, become=True, mutates=True))
        yield


def _listening(
    source: End, destination: End, lane: Lane, complaints: Complaints
) -> AbstractAsyncContextManager[str | int]:
    order = asyncio.Lock()  # whoever listens there may tell connections apart by which comes first, as QEMU does

    async def far() -> Channel:
        async with order:
            return await _far(destination, lane)

    async def carry(near: Channel) -> None:
        try:
            await join(near, far)
        except NovaFleetError as error:
            complaints.heard.append(error)

    if isinstance(lane.at, str):
        return source.session.listen_unix(lane.at, carry)
    return source.session.listen_tcp(LOOPBACK, lane.at, carry)


async def _far(destination: End, lane: Lane) -> Channel:
    if lane.daemon:
        return await destination.hypervisor.reach_daemon()
    if isinstance(lane.at, str):
        return await destination.session.open_unix(lane.at)
    return await destination.session.open_tcp(LOOPBACK, lane.at)


async def join(near: Channel, open_far: Callable[[], Awaitable[Channel]]) -> None:
    """Carry bytes both ways until both sides have ended, or one fails: then both are closed at once."""
    try:
        far = await open_far()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(near, far))
                group.create_task(_pump(far, near))
        except BaseExceptionGroup as failed:
            ours = failed.subgroup(NovaFleetError)
            raise (ours.exceptions[0] if ours else failed) from failed
        finally:
            await far.close()
    finally:
        await near.close()


async def _pump(one: Channel, other: Channel) -> None:
    while data := await one.read(PIECE):
        await other.write(data)
    await other.write_eof()
