"""A channel to a UNIX socket that only root may open: a relaying program run through become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from novafleet.errors import ChannelError, NovaFleetError
from novafleet.model.command import Command
from novafleet.ports import HostSession

RELAY = """\
if command -v virt-ssh-helper >/dev/null; then exec virt-ssh-helper qemu:///system; fi
if command -v socat >/dev/null; then exec socat - "UNIX-CONNECT:$1"; fi
exec nc -U "$1"
"""
"""virt-ssh-helper comes with every libvirtd since 6.8 and exists for this."""


class Relay:
    """A ``Channel`` over the standard input and output of a command that runs as root."""

    def __init__(self, session: HostSession, path: str) -> None:
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._rest = b""
        self._failure: NovaFleetError | None = None
        self._task = asyncio.create_task(self._run(session, path))

    async def read(self, limit: int = 65536) -> bytes:
        """Up to ``limit`` bytes; empty at end of file. Raises what made the relay fail."""
        if not self._rest and not (self._task.done() and self._incoming.empty()):
            self._rest = await self._incoming.get()
        if not self._rest and self._failure is not None:
            raise self._failure
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def write(self, data: bytes) -> None:
        """Send; waits while the relay is behind. Raises what made the relay fail, ChannelError when it has ended."""
        if self._task.done():
            raise self._failure or ChannelError("the relay to libvirt has ended")
        await self._outgoing.put(data)

    async def write_eof(self) -> None:
        """Half-close our side."""
        await self._outgoing.put(b"")

    async def close(self) -> None:
        """Kill the relay on the host."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, session: HostSession, path: str) -> None:
        try:
            self._failure = await self._relay(session, path)
        except NovaFleetError as exc:
            self._failure = exc
        finally:
            self._incoming.put_nowait(b"")

    async def _relay(self, session: HostSession, path: str) -> NovaFleetError | None:
        command = Command.script(RELAY, path, become=True)
        complaint = b""
        async with session.stream(command, stdin=self._feed()) as running:
            async for output in running:
                if output.stream == 1:
                    self._incoming.put_nowait(output.data)
                else:
                    complaint = (complaint + output.data)[-1000:]
            status = await running.status()
        if status == 0:
            return None
        words = complaint.decode("utf-8", "replace").strip()
        return ChannelError(f"the relay to {path} ended with status {status}", cause=words)

    async def _feed(self) -> AsyncIterator[bytes]:
        while data := await self._outgoing.get():
            yield data
