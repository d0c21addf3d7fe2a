"""The way to an sshd that no jump host is in front of: a TCP connection, or a ProxyCommand whose input and output are
one (ssh_config(5))."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket

from novafleet.transport import cork
from novafleet.transport.target import SshTarget

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for a ProxyCommand to end once its connection has."""

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
NOT_STARTED = (126, 127)
"""The shell's status for a program that cannot be run, or is not there (POSIX, 2.8.2)."""


class Way:
    """An open one."""

    def __init__(self, sock: socket.socket, process: asyncio.subprocess.Process | None = None) -> None:
        self.sock = sock
        self._said = b""
        self._process = process
        self._hearing = asyncio.ensure_future(self._hear(process)) if process else None

    @property
    def words(self) -> str:
        """The end of what the ProxyCommand complained of."""
        return self._said.decode("utf-8", "replace").strip()

    @property
    def hopeless(self) -> bool:
        """The ProxyCommand did not even start: it will not the next time."""
        return self._process is not None and self._process.returncode in NOT_STARTED

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while data := await process.stderr.read(4096):
            log.info("ProxyCommand: %s", data.decode("utf-8", "replace").rstrip())
            self._said = (self._said + data)[-1000:]

    async def close(self) -> None:
        """See the ProxyCommand end; the socket is closed by whoever was given it."""
        if self._process is None or self._hearing is None:
            return
        ending = asyncio.ensure_future(self._process.wait())
        for number in (signal.SIGHUP, signal.SIGKILL):
            if (await asyncio.wait({ending, self._hearing}, timeout=PATIENCE))[1]:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
        self._hearing.cancel()
        await asyncio.wait({ending, self._hearing})


def shell_words(command: str) -> tuple[str, str, str]:
    """How ssh runs a ProxyCommand."""
    return os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"


async def open_way(target: SshTarget) -> Way:
    """Connect. Raises OSError."""
    if not target.proxy_command:
        family = FAMILIES.get(target.address_family, socket.AF_UNSPEC)
        return Way(await cork.connected(target.host, target.port, target.connect_timeout, family))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *shell_words(target.proxy_command),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
    except OSError:
        ours.close()
        raise
    return Way(ours, process)
