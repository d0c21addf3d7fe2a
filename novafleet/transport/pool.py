"""One connection per host, made on first use, shared by everything, made again when it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from novafleet.errors import AuthError, TrustError, UnreachableError
from novafleet.transport.errors import DroppedError
from novafleet.transport.limits import DROPS, Handshakes, pause, raise_descriptor_limit
from novafleet.transport.resolve import Resolver
from novafleet.transport.session import SshSession
from novafleet.transport.sshconfig import SshConfig
from novafleet.transport.translate import dropped

if TYPE_CHECKING:
    from novafleet.model.fleet import Fleet, Host
    from novafleet.model.secret import Secret
    from novafleet.ports import HostSession
    from novafleet.transport.ssh import SshLink
    from novafleet.transport.target import SshTarget
    from novafleet.transport.trust import HostKey

    Dial = Callable[[SshTarget], Awaitable[SshLink]]

T = TypeVar("T")


class SshTrunk:
    """One target's connection through time (``link.Trunk``)."""

    def __init__(self, target: SshTarget, dial: Dial) -> None:
        self.target = target
        self.generation = 0
        self._dial = dial
        self._link: SshLink | None = None
        self._lock = asyncio.Lock()
        self._refused: AuthError | TrustError | None = None

    @property
    def user(self) -> str:
        """Whom we log in as."""
        return self.target.user

    async def link(self) -> SshLink:
        """A live connection. A server that refused us once is not asked again: its penalties would hit all logins."""
        if self._link and not self._link.lost:
            return self._link
        async with self._lock:
            if self._link and not self._link.lost:
                return self._link
            if self._refused:
                raise self._refused
            try:
                self._link = await self._dial(self.target)
            except (AuthError, TrustError) as error:
                self._refused = error
                raise
            self.generation += 1
            return self._link

    @asynccontextmanager
    async def spare(self) -> AsyncIterator[SshLink]:
        """A second connection for a moment, where the first has no session left."""
        link = await self._dial(self.target)
        try:
            yield link
        finally:
            await link.close()

    async def close(self) -> None:
        """End the connection; waits for a login in flight."""
        async with self._lock:
            link, self._link = self._link, None
        if link:
            await link.close()


class SshPool:
    """``ports.Sessions`` over SSH. Only NovaFleet's own ``known_hosts`` is ever written."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        known_hosts: Path,
        passwords: Callable[[Host], Secret],
        config: SshConfig | None = None,
    ) -> None:
        self._known_hosts = known_hosts
        self._passwords = passwords
        self._resolver = Resolver(fleet, known_hosts, config or SshConfig())
        self._handshakes = Handshakes()
        self._trunks: dict[SshTarget, SshTrunk] = {}
        self._sessions: dict[str, SshSession[SshTrunk]] = {}

    async def __aenter__(self) -> SshPool:
        raise_descriptor_limit()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections, those behind jump hosts first."""
        trunks, self._trunks = list(self._trunks.values()), {}
        self._sessions.clear()
        for depth in sorted({_depth(trunk.target) for trunk in trunks}, reverse=True):
            await asyncio.gather(*(trunk.close() for trunk in trunks if _depth(trunk.target) == depth))

    async def get(self, host: Host) -> HostSession:
        """The session of a host, connecting if need be; see ``ports.Sessions.get``."""
        session = self._sessions.get(host.name)
        if session is None or session.host != host:
            trunk = self._trunk(await self._resolver.target(host))
            session = self._sessions[host.name] = SshSession(host, trunk, self._passwords)
        await session.trunk.link()
        return session

    async def drop(self, host: Host) -> None:
        """Forget a host's connection and whatever it refused; the next ``get`` makes a new one."""
        session = self._sessions.pop(host.name, None)
        if session:
            self._trunks.pop(session.trunk.target, None)
            await session.trunk.close()

    async def host_key(self, host: Host) -> tuple[SshTarget, HostKey]:
        """Where a host is, and the key it presents now; nothing is logged in to but jump hosts."""
        from novafleet.transport import ssh

        target = await self._resolver.target(host)

        async def ask(via: SshLink | None) -> HostKey:
            return await ssh.host_key(target, via, self._known_hosts)

        return target, await self._admitted(target, ask)

    def _trunk(self, target: SshTarget) -> SshTrunk:
        return self._trunks.setdefault(target, SshTrunk(target, self._login))

    async def _login(self, target: SshTarget) -> SshLink:
        from novafleet.transport import ssh

        async def login(via: SshLink | None) -> SshLink:
            return await ssh.login(target, via, self._known_hosts)

        return await self._admitted(target, login)

    async def _admitted(self, target: SshTarget, act: Callable[[SshLink | None], Awaitable[T]]) -> T:
        """Do something that counts as a login, again when the server is too busy to greet us."""
        said = ""
        for attempt in range(1, DROPS + 1):
            via = await self._before(target, target.via) if target.via else None
            async with self._handshakes.slot(target.sshd):
                try:
                    return await act(via)
                except DroppedError as error:
                    said = str(error)
                    self._handshakes.dropped(target.sshd)
            await asyncio.sleep(pause(attempt))
        raise dropped(target, DROPS, said)

    async def _before(self, target: SshTarget, jump: SshTarget) -> SshLink:
        """The jump host's connection. What is wrong with it is also told of whom it stands before."""
        try:
            return await self._trunk(jump).link()
        except (UnreachableError, AuthError, TrustError) as error:
            told = copy(error)
            told.cause = "; ".join(filter(None, (error.cause, f"the way to {target.label} leads through it")))
            raise told from error


def _depth(target: SshTarget) -> int:
    return 1 + _depth(target.via) if target.via else 0
