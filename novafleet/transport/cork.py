"""A TCP connection whose sends of one turn of the event loop leave together.

asyncssh sends each SSH packet by itself: 32,000 sends for a GiB. The kernel makes few full segments of them when it is
told to wait for more (tcp(7), TCP_CORK).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

CORK = getattr(socket, "TCP_CORK", 0)
"""Linux has it."""


class CorkedSocket(socket.socket):
    """What asyncio sends with."""

    _corked = False

    def send(self, data: Any, flags: int = 0, /) -> int:
        """As ``socket.send``; it leaves when this turn is over."""
        if CORK and not self._corked:
            self._cork(on=True)
            asyncio.get_running_loop().call_soon(self._uncork)
        return super().send(data, flags)

    def _uncork(self) -> None:
        if self.fileno() >= 0:
            self._cork(on=False)

    def _cork(self, *, on: bool) -> None:
        self._corked = on
        self.setsockopt(socket.IPPROTO_TCP, CORK, on)


async def connected(host: str, port: int, seconds: float, family: int = socket.AF_UNSPEC) -> CorkedSocket:
    """A connection to the first of a host's addresses that takes one; each gets its share of the time.

    Raises OSError: why the first one did not.
    """
    loop = asyncio.get_running_loop()
    failures: list[OSError] = []
    addresses = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    for family_of, kind, protocol, _, address in addresses:
        try:
            async with asyncio.timeout(seconds / len(addresses)):
                return await _to(CorkedSocket(family_of, kind, protocol), address)
        except OSError as exc:
            failures.append(exc)
    raise failures[0]


async def _to(made: CorkedSocket, address: Any) -> CorkedSocket:
    made.setblocking(False)
    done = False
    try:
        await asyncio.get_running_loop().sock_connect(made, address)
        done = True
    finally:
        if not done:
            made.close()
    return made
