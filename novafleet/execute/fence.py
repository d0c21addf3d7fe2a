"""Sessions and hypervisors that change nothing unless our lease is still ours (docs/concepts/fencing.md).

Commands are refused by the host itself; files and libvirt ride the connection that a takeover ends, and a new
connection carries them only after the host confirmed the lease on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from novafleet.execute.lease import REFUSED, HostLease
from novafleet.model.command import Command, Completed, Output
from novafleet.transport import files
from novafleet.transport.shell import failure

if TYPE_CHECKING:
    from novafleet.model.fleet import Host
    from novafleet.ports import Channel, ChannelHandler, HostSession, Hypervisor, Sessions, Streaming

READS = frozenset(
    {"version", "capabilities", "domains", "domain", "domain_state", "agent", "events", "close"}
    | {"backup_job", "checkpoints", "running_xml", "snapshots", "block_info", "block_job", "thaw"}
    | {"migration", "migratable_xml", "compare_cpu", "dirty_rate", "disk_load"}
)
"""What of ``ports.Hypervisor`` changes nothing, and ``thaw``, which no frozen guest may wait for. Whatever is not named
here is fenced."""


def fence(session: HostSession, lease: HostLease) -> HostSession:
    """The session with every command that mutates, and every push, behind the lease."""
    return FencedSession(session, lease)


def fence_hypervisor(hypervisor: Hypervisor, lease: HostLease) -> Hypervisor:
    """The hypervisor with every call that changes something behind the lease."""
    return cast("Hypervisor", FencedHypervisor(hypervisor, lease))


@dataclass(frozen=True, slots=True)
class FencedStreaming:
    """A running fenced command."""

    running: Streaming
    lease: HostLease

    def __aiter__(self) -> AsyncIterator[Output]:
        return aiter(self.running)

    async def status(self) -> int:
        """The exit status. Raises FencedError when the host ran nothing because the lease is not ours."""
        status = await self.running.status()
        if status == REFUSED:
            await self.lease.check()
        return status


class FencedSession:
    """``ports.HostSession``; made by ``fence``."""

    def __init__(self, session: HostSession, lease: HostLease) -> None:
        self._session = session
        self._lease = lease

    @property
    def host(self) -> Host:
        """The inventory entry this session leads to."""
        return self._session.host

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        """As ``Shell.run``; raises FencedError, having run nothing, when a mutating command meets a lost lease."""
        if not command.mutates:
            return await self._session.run(command, stdin=stdin, timeout=timeout, check=check)
        await self._lease.ensure()
        ran = await self._session.run(self._lease.fenced(command), stdin=stdin, timeout=timeout, check=False)
        if ran.status == REFUSED:
            await self._lease.check()
        completed = Completed(command.argv, ran.status, ran.stdout, ran.stderr, ran.seconds)
        if check and completed.status:
            raise failure(self.host.name, completed)
        return completed

    @asynccontextmanager
    async def stream(
        self, command: Command, *, stdin: AsyncIterator[bytes] | None = None, timeout: float | None = None
    ) -> AsyncIterator[Streaming]:
        """As ``Shell.stream``, likewise."""
        if command.mutates:
            await self._lease.ensure()
            command = self._lease.fenced(command)
        async with self._session.stream(command, stdin=stdin, timeout=timeout) as running:
            yield FencedStreaming(running, self._lease)

    async def push(
        self, content: bytes | Path, path: str, *, mode: int = 0o644, owner: str = "", become: bool = False
    ) -> bool:
        """As ``Files.push``, made of fenced commands."""
        shell = cast("files.StreamingShell", self)  # a push never asks for a bulk window
        return await files.push(shell, self.host.name, content, files.Placing(path, mode, owner, become))

    async def pull(self, path: str, *, become: bool = False) -> bytes:
        """As ``Files.pull``."""
        return await self._session.pull(path, become=become)

    async def pull_to(self, path: str, target: Path, *, become: bool = False) -> int:
        """As ``Files.pull_to``."""
        return await self._session.pull_to(path, target, become=become)

    async def open_tcp(self, address: str, port: int, *, timeout: float = 10.0) -> Channel:
        """As ``Tunnel.open_tcp``."""
        return await self._session.open_tcp(address, port, timeout=timeout)

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> Channel:
        """As ``Tunnel.open_unix``; the lease is confirmed once the channel is there, so both share a connection."""
        channel = await self._session.open_unix(path, timeout=timeout)
        try:
            await self._lease.confirm()
        except BaseException:
            await channel.close()
            raise
        return channel

    def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AbstractAsyncContextManager[int]:
        """As ``Tunnel.listen_tcp``."""
        return self._session.listen_tcp(address, port, handler)

    def listen_unix(self, path: str, handler: ChannelHandler) -> AbstractAsyncContextManager[str]:
        """As ``Tunnel.listen_unix``."""
        return self._session.listen_unix(path, handler)


class FencedSessions:
    """``ports.Sessions`` where hosts whose lease is held are fenced: for what connects by itself, as libvirt's
    ``Connections`` do after a loss. Assign ``leases`` while they are held."""

    def __init__(self, sessions: Sessions) -> None:
        self.leases: Mapping[str, HostLease] = {}
        self._sessions = sessions

    async def get(self, host: Host) -> HostSession:
        """The session of a host, fenced if its lease is held."""
        session = await self._sessions.get(host)
        lease = self.leases.get(host.name)
        return session if lease is None else fence(session, lease)

    async def drop(self, host: Host) -> None:
        """As ``Sessions.drop``."""
        await self._sessions.drop(host)


class FencedHypervisor:
    """``ports.Hypervisor``; made by ``fence_hypervisor``. Passes on what it does not know, fenced."""

    def __init__(self, hypervisor: Hypervisor, lease: HostLease) -> None:
        self._hypervisor = hypervisor
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._hypervisor, name)
        return method if name in READS else _fenced(method, self._lease)


def _fenced(method: Callable[..., Awaitable[Any]], lease: HostLease) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(*arguments: Any, **options: Any) -> Any:
        await lease.ensure()
        return await method(*arguments, **options)

    return call
