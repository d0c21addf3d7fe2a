"""Sockets behind a host: forwarded by its sshd, or relayed by a program it has where sshd does not forward."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from novafleet.model.command import Command
from novafleet.transport.errors import ForwardingOffError, LostBeforeStartError
from novafleet.transport.relay import Relay, tcp_relay, unix_relay
from novafleet.transport.translate import channel_too_slow, lost

if TYPE_CHECKING:
    from novafleet.model.fleet import Host
    from novafleet.ports import Channel, ChannelHandler
    from novafleet.transport.link import Link, Trunk
    from novafleet.transport.shell import RemoteShell

log = logging.getLogger(__name__)
T = TypeVar("T")

UNLINK = '[ ! -S "$1" ] || rm -f -- "$1"'


class RemoteTunnel:
    """``ports.Tunnel`` over a trunk; ``shell`` runs the relay programs."""

    def __init__(self, host: Host, trunk: Trunk, shell: RemoteShell) -> None:
        self._host = host
        self._trunk = trunk
        self._shell = shell
        self._forwards = {"tcp": True, "unix": True}

    async def open_tcp(self, address: str, port: int, timeout: float) -> Channel:
        """Forwarded, or relayed by socat, nc, bash or python3."""
        return await self._open(
            "tcp",
            lambda link: link.open_tcp(address, port),
            lambda: tcp_relay(self._shell, self._host, address, port),
            timeout,
        )

    async def open_unix(self, path: str, timeout: float) -> Channel:
        """Forwarded, or relayed by socat, nc or python3, as root where the socket is root's and the host has become."""
        return await self._open(
            "unix", lambda link: link.open_unix(path), lambda: unix_relay(self._shell, self._host, path), timeout
        )

    async def _open(
        self,
        kind: str,
        forward: Callable[[Link], Awaitable[Channel]],
        relay: Callable[[], Awaitable[Relay]],
        timeout: float,
    ) -> Channel:
        try:
            async with asyncio.timeout(timeout):
                if self._forwards[kind]:
                    with contextlib.suppress(ForwardingOffError):
                        return await self._alive(forward)
                channel = await relay()
        except TimeoutError as exc:
            raise channel_too_slow(self._host.name, timeout) from exc
        if self._forwards[kind] and not channel.as_root:
            log.info("%s: sshd does not forward %s sockets; relaying through a program", self._host.name, kind)
            self._forwards[kind] = False
        return channel

    async def _alive(self, forward: Callable[[Link], Awaitable[T]]) -> T:
        """On the connection there is, or on a new one when that is found dead."""
        try:
            return await forward(await self._trunk.link())
        except LostBeforeStartError:
            try:
                return await forward(await self._trunk.link())
            except LostBeforeStartError as exc:
                raise lost(self._host.name, str(exc)) from exc

    @asynccontextmanager
    async def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AsyncIterator[int]:
        """See ``ports.Tunnel.listen_tcp``."""
        link = await self._trunk.link()
        async with link.listen_tcp(address, port, handler) as bound:
            yield bound

    @asynccontextmanager
    async def listen_unix(self, path: str, handler: ChannelHandler) -> AsyncIterator[str]:
        """See ``ports.Tunnel.listen_unix``; sshd leaves the socket's file behind, so it is unlinked around the use."""
        unlink = Command.script(UNLINK, path)
        await self._shell.run(unlink, timeout=20.0)
        async with AsyncExitStack() as stack:
            link = await self._trunk.link()
            stack.push_async_callback(self._shell.run, unlink, timeout=20.0, check=False)
            yield await stack.enter_async_context(link.listen_unix(path, handler))
