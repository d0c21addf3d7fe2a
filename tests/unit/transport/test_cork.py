"""Sends of one turn of the event loop leave together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from novafleet.transport import cork


class Server(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    protocol = Server()
    async with await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0) as listening:
        yield protocol, listening.sockets[0].getsockname()[1]


@pytest.mark.skipif(not cork.CORK, reason="this system has no TCP_CORK")
async def test_what_one_turn_sends_leaves_at_its_end(server: tuple[Server, int]) -> None:
    protocol, port = server
    made = await cork.connected("127.0.0.1", port, 5.0)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=made)
    for number in range(20):
        transport.write(bytes([number]))
        assert made.getsockopt(socket.IPPROTO_TCP, cork.CORK)
    await asyncio.sleep(0)
    assert not made.getsockopt(socket.IPPROTO_TCP, cork.CORK)
    transport.write(b"more")
    transport.close()
    async with asyncio.timeout(10):
        await protocol.ended.wait()
    assert b"".join(protocol.pieces) == bytes(range(20)) + b"more"


async def test_the_next_address_is_tried(server: tuple[Server, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = server
    [taken] = await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = (*taken[:4], unused.getsockname())

        async def addresses(*_arguments: object, **_options: object) -> list[object]:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
        found: list[object] = [dead, taken]
        (await cork.connected("kvm1", port, 5.0)).close()
        found = [dead, dead]
        with pytest.raises(ConnectionRefusedError):
            await cork.connected("kvm1", port, 5.0)


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    server: tuple[Server, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an IPv6 address that leads nowhere, before the IPv4 one."""
    _, port = server
    loop = asyncio.get_running_loop()
    [taken] = await loop.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):

        async def addresses(*_arguments: object, **_options: object) -> list[object]:
            return [(*taken[:4], full.getsockname()), taken]

        monkeypatch.setattr(loop, "getaddrinfo", addresses)
        async with asyncio.timeout(1.0):
            (await cork.connected("kvm1", port, 1.0)).close()


async def test_one_family_only(server: tuple[Server, int]) -> None:
    with pytest.raises(socket.gaierror):
        await cork.connected("127.0.0.1", server[1], 5.0, socket.AF_INET6)
