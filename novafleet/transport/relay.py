"""A channel made of a program's standard input and output, where sshd forwards no sockets."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from novafleet.model.command import Command
from novafleet.transport.translate import not_forwarded

if TYPE_CHECKING:
    from novafleet.model.fleet import Host
    from novafleet.transport.link import Process
    from novafleet.transport.shell import RemoteShell

DENIED = 77
READY = re.compile(rb"(novafleet-relay-ready|socat.* N starting data transfer loop.*)\n")
"""socat says so itself once it is connected (``-d -d``), netcat never does."""
NOTICE = re.compile(r".* socat\[\d+\] N .*\n?")
"""What socat tells of that is no complaint."""

PUMP = """
import os, select, socket, sys
link = socket.socket(socket.AF_UNIX if len(sys.argv) == 2 else socket.AF_INET)
link.connect(sys.argv[1] if len(sys.argv) == 2 else (sys.argv[1], int(sys.argv[2])))
os.write(2, b"novafleet-relay-ready\\n")
sources = [0, link.fileno()]
while link.fileno() in sources:
    for source in select.select(sources, [], [])[0]:
        data = os.read(source, 65536)
        if source == 0 and data:
            link.sendall(data)
        elif source == 0:
            sources.remove(0)
            link.shutdown(socket.SHUT_WR)
        elif data:
            os.write(1, data)
        else:
            sources.remove(source)
"""
"""The relay in Python, for hosts that have neither socat nor a netcat that knows UNIX sockets."""

UNIX = """\
[ -S "$1" ] || [ ! -x "${1%/*}" ] || { echo "$1 is no socket" >&2; exit 2; }
[ -w "$1" ] || { echo "$1: permission denied" >&2; exit 77; }
if command -v socat >/dev/null; then
  cd -- "${1%/*}" && exec socat -d -d -t 86400 - "UNIX-CONNECT:${1##*/}" # socat gives quotes and commas a meaning
elif nc -h 2>&1 | grep -q -e '-[^ ]*U'; then
  echo novafleet-relay-ready >&2
  if nc -h 2>&1 | grep -q -e '-N'; then exec nc -N -U "$1"; else exec nc -U "$1"; fi
elif command -v python3 >/dev/null; then
  exec python3 -c "$2" "$1"
fi
echo "none of socat, nc -U and python3 is installed" >&2; exit 127
"""

TCP = """\
if command -v socat >/dev/null; then
  exec socat -d -d -t 86400 - "TCP:$1:$2"
elif command -v python3 >/dev/null; then
  exec python3 -c "$3" "$1" "$2"
elif command -v nc >/dev/null; then
  echo novafleet-relay-ready >&2
  if nc -h 2>&1 | grep -q -e '-N'; then exec nc -N "$1" "$2"; else exec nc "$1" "$2"; fi
fi
echo "none of socat, nc and python3 is installed" >&2; exit 127
"""


async def unix_relay(shell: RemoteShell, host: Host, path: str) -> Relay:
    """A relay to a UNIX socket, as root when only root may and ``become`` is there. Raises ChannelError NF-SSH-402."""
    command = Command.script(UNIX, path, PUMP)
    try:
        try:
            return await Relay.open(shell, host, command, path)
        except _DeniedError:
            if not host.become.enabled:
                raise
            return await Relay.open(shell, host, command.as_root(), path)
    except _DeniedError as exc:
        raise not_forwarded(host.name, path, str(exc)) from exc


async def tcp_relay(shell: RemoteShell, host: Host, address: str, port: int) -> Relay:
    """A relay to a TCP port. Raises ChannelError NF-SSH-402."""
    command = Command.script(TCP, address, str(port), PUMP)
    return await Relay.open(shell, host, command, f"{address}:{port}")


class _DeniedError(Exception):
    """The login user may not use the socket."""


class Relay:
    """``ports.Channel`` over a running program."""

    def __init__(self, process: Process, host: str, what: str, *, as_root: bool) -> None:
        self.as_root = as_root
        self._process = process
        self._host = host
        self._what = what
        self._rest = b""
        self._complaint = b""
        self._stack = AsyncExitStack()

    @classmethod
    async def open(cls, shell: RemoteShell, host: Host, command: Command, what: str) -> Relay:
        """Start the program and wait until it is connected, where it tells (socat, Python)."""
        async with AsyncExitStack() as stack:
            process = await stack.enter_async_context(shell.process(command))
            relay = cls(process, host.name, what, as_root=command.become)
            await relay._until_ready()
            relay._stack = stack.pop_all()
            return relay

    async def read(self, limit: int = 65536) -> bytes:
        """Up to ``limit`` bytes; empty at end of file. Raises ChannelError when the program failed."""
        while not self._rest:
            piece = await self._process.read()
            if piece is None:
                return await self._end()
            if piece.stream == 1:
                self._rest = piece.data
            else:
                self._complaint = (self._complaint + piece.data)[-1000:]
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the program is behind. Raises ChannelError when it has ended."""
        if self._process.ended:
            raise not_forwarded(self._host, self._what, self._words() or "the relay has ended")
        await self._process.write(data)

    async def write_eof(self) -> None:
        """Half-close our side."""
        self._process.write_eof()

    async def close(self) -> None:
        """Kill the program on the host; a blocked reader is let go at once."""
        await self._process.close()
        await self._stack.aclose()

    async def _until_ready(self) -> None:
        while not (ready := READY.search(self._complaint)):
            piece = await self._process.read()
            if piece is None:
                status = await self._process.status()
                if status == DENIED:
                    raise _DeniedError(self._words())
                raise not_forwarded(self._host, self._what, self._words() or f"the relay ended with status {status}")
            if piece.stream == 2:
                self._complaint += piece.data
            else:
                self._rest += piece.data
        self._complaint = self._complaint[ready.end() :]

    async def _end(self) -> bytes:
        if self._process.ended and self._words() and await self._process.status():
            raise not_forwarded(self._host, self._what, self._words())
        return b""

    def _words(self) -> str:
        return NOTICE.sub("", self._complaint.decode("utf-8", "replace")).strip()
