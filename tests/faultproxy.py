"""A TCP proxy before an HTTP server that does to a request what networks and servers do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit


class Fault(StrEnum):
    """What happens to one request."""

    BUSY = "503 without doing it"
    BROKEN = "500 without doing it"
    LOST = "done, and answered with 500"
    CONFLICT = "409 without doing it"
    HUNG_UP = "done, and the connection is closed without an answer"
    CUT = "half of the answer's body, then the end"
    SLOW = "done, but not at once"
    STALLED = "done, and never answered: the client's time runs out"


@dataclass
class Proxy:
    """``faults`` are used up by the requests that ``matching`` is true of, None lets one pass; ``seen`` has each
    request's first line, ``refused`` gives the answer to a request that the server shall not see, ``met`` is set once
    there was a fault."""

    backend: str
    endpoint: str = ""
    faults: list[Fault | None] = field(default_factory=list)
    matching: Callable[[str], bool] = lambda _: True
    seen: list[str] = field(default_factory=list)
    refused: Callable[[bytes], bytes] = lambda _: b""
    met: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            await self._one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first = head.split(b"\r\n", 1)[0].decode()
        body = await reader.readexactly(_length(head))
        self.seen.append(first)
        fault = self.faults.pop(0) if self.faults and self.matching(first) else None
        if fault is not None:
            self.met.set()
        if fault in REFUSALS:
            writer.write(REFUSALS[fault])
            await writer.drain()
            return
        if answer := self.refused(head):
            writer.write(answer)
            await writer.drain()
            return
        if fault is Fault.SLOW:
            await asyncio.sleep(0.4)
        answer = await self._ask(head, body)
        if fault is Fault.LOST:
            answer = REFUSALS[Fault.BROKEN]
        if fault is Fault.HUNG_UP:
            return
        if fault is Fault.STALLED:
            await reader.read()
            return
        if fault is Fault.CUT:
            start = answer.index(b"\r\n\r\n") + 4
            answer = answer[: start + (len(answer) - start) // 2]
        writer.write(answer)
        await writer.drain()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        address = urlsplit(self.backend)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
        answer = await reader.read(-1)
        writer.close()
        return answer


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def refusal(status: str, body: str = "") -> bytes:
    """An answer with its status, and the document that S3 explains itself with."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


REFUSALS = {
    Fault.BUSY: refusal("503 Slow Down"),
    Fault.BROKEN: refusal("500 Internal Server Error"),
    Fault.CONFLICT: refusal("409 Conflict"),
}


@asynccontextmanager
async def proxied(backend: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy before an endpoint, on a free port; with ``tls`` it speaks HTTPS."""
    proxy = Proxy(backend)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20, ssl=tls)
    proxy.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
