"""Commands on a host: started once, watched to the end, and killed with all they started when nobody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from novafleet.errors import ChannelError, CommandError, NovaFleetError, PrivilegeError, UnreachableError
from novafleet.model.command import Command, Completed, Output
from novafleet.model.fleet import Host
from novafleet.model.secret import Secret
from novafleet.transport.become import Sudo, elevate
from novafleet.transport.errors import LostBeforeStartError
from novafleet.transport.link import Link, Process, Trunk, output
from novafleet.transport.loud import Announced
from novafleet.transport.quote import kill_command, remote_line
from novafleet.transport.translate import command_too_slow, lost

log = logging.getLogger(__name__)

GRACE = 3.0
"""Seconds between TERM and KILL, and again until a killed command is given up."""

KILL_TIMEOUT = 8.0
"""Seconds for a kill to reach the host; sudo with a password alone can take two on a busy one."""

PIECE = 256 * 1024
Feed = AsyncIterator[bytes]
CSH = "if the user's login shell is csh or tcsh: chsh -s /bin/sh USER   # on the host; any other shell will do"


@dataclass(slots=True)
class Running:
    """A running command (``ports.Streaming``)."""

    process: Process

    def __aiter__(self) -> AsyncIterator[Output]:
        return output(self.process)

    async def status(self) -> int:
        """The exit status (128+N after signal N), waiting for the end."""
        return await self.process.status()


class RemoteShell:
    """``ports.Shell`` over a trunk. ``passwords`` answers sudo's question for a host."""

    def __init__(self, host: Host, trunk: Trunk, passwords: Callable[[Host], Secret]) -> None:
        self._host = host
        self._trunk = trunk
        self._passwords = passwords
        self._refused: PrivilegeError | None = None
        self._quiet = False

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        """Run to the end; see ``ports.Shell.run``."""
        began = time.monotonic()
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        feed = _pieces(stdin) if stdin else None
        async with self.stream(command, stdin=feed, timeout=timeout) as running:
            async for piece in running:
                parts[piece.stream - 1].append(piece.data)
            status = await running.status()
        completed = Completed(command.argv, status, b"".join(parts[0]), b"".join(parts[1]), time.monotonic() - began)
        if check and status:
            raise failure(self._host.name, completed)
        return completed

    @asynccontextmanager
    async def stream(
        self, command: Command, *, stdin: Feed | None = None, timeout: float | None = None, bulk: bool = False
    ) -> AsyncIterator[Running]:
        """Run with live output; see ``ports.Shell.stream``. ``bulk`` asks for a large window."""
        token = secrets.token_hex(8)
        scope = asyncio.timeout(timeout)
        try:
            async with scope, self._started(command, token, bulk) as process, _feeding(process, stdin):
                yield Running(process)
        except TimeoutError as exc:
            if not scope.expired():
                raise
            raise command_too_slow(self._host.name, command.argv[0], timeout or 0.0) from exc

    def process(self, command: Command) -> AbstractAsyncContextManager[Process]:
        """A running command with its three streams, for much data; leaving kills it."""
        return self._started(command, secrets.token_hex(8), bulk=True)

    @asynccontextmanager
    async def _started(self, command: Command, token: str, bulk: bool) -> AsyncIterator[Process]:
        """The running process; whatever ends the block early kills it first."""
        starting = asyncio.ensure_future(self._start(command, token, bulk=bulk))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await self._stop_start(starting, command, token)
            raise
        try:
            yield process
        finally:
            if not process.ended:
                await self._kill(process, command, token)
            await process.close()

    async def _stop_start(self, starting: asyncio.Future[Process], command: Command, token: str) -> None:
        done, _ = await asyncio.wait({starting}, timeout=GRACE)
        if not done:
            starting.cancel()
        elif not starting.cancelled() and starting.exception() is None:
            await self._kill(starting.result(), command, token)

    async def _start(self, command: Command, token: str, *, bulk: bool = False) -> Process:
        """On the connection there is, or on a new one when that is found dead before the command was sent."""
        try:
            return await self._start_on(await self._trunk.link(), command, token, bulk=bulk)
        except LostBeforeStartError:
            link = await self._trunk.link()
        try:
            return await self._start_on(link, command, token, bulk=bulk)
        except LostBeforeStartError as exc:
            raise lost(self._host.name, str(exc)) from exc

    async def _start_on(
        self, link: Link, command: Command, token: str, *, bulk: bool = False, urgent: bool = False
    ) -> Process:
        sudo = self._sudo(command, token)
        word = "" if self._quiet else secrets.token_hex(8)
        line = remote_line(command, token, sudo.words() if sudo else (), word)
        process: Process = await link.start(line, bulk=bulk, urgent=urgent)
        if word:
            process = Announced(process, word.encode(), self._heard)
        return await self._elevated(process, sudo) if sudo else process

    def _heard(self, noise: bytes) -> None:
        if noise:
            log.info("%s: its login shell says %r before each command", self._host.name, noise[:100])
        self._quiet = not noise

    def _sudo(self, command: Command, token: str) -> Sudo | None:
        become = self._host.become
        if not command.become or self._trunk.user == "root":
            return None
        if self._refused:
            raise self._refused
        if not become.enabled:
            raise PrivilegeError(
                "root is needed, but the inventory does not say how to get it",
                code="NF-SUDO-007",
                where=self._host.name,
                hints=(f"`become: true` for {self._host.name} in the inventory, or `user: root`",),
            )
        return Sudo(token, self._passwords(self._host) if become.password else None)

    async def _elevated(self, process: Process, sudo: Sudo) -> Process:
        try:
            return await elevate(process, sudo, self._host.name)
        except PrivilegeError as error:
            self._refused = error
            raise

    async def _kill(self, process: Process, command: Command, token: str) -> None:
        """TERM, then KILL, to every process of the command; gives up when the host is gone."""
        for name in ("TERM", "KILL"):
            with contextlib.suppress(NovaFleetError, LostBeforeStartError, TimeoutError):
                async with asyncio.timeout(KILL_TIMEOUT):
                    await self._signal(command, token, name)
            process.signal(name)
            if await _ends_within(process, GRACE):
                return

    async def _signal(self, command: Command, token: str, name: str) -> None:
        """Through a session beside the limit, or through a second connection when the server has none left."""
        killer = kill_command(token, name, become=command.become)
        own = secrets.token_hex(8)
        try:
            process = await self._start_on(await self._trunk.link(), killer, own, urgent=True)
            await process.status()
        except ChannelError:
            async with self._trunk.spare() as link:
                process = await self._start_on(link, killer, own)
                await process.status()


@asynccontextmanager
async def _feeding(process: Process, stdin: Feed | None) -> AsyncIterator[None]:
    """Standard input beside the block; what breaks the feed breaks the block."""
    if stdin is None:
        process.write_eof()
        yield
        return
    feeder = asyncio.ensure_future(_feed(process, stdin))
    try:
        yield
    finally:
        feeder.cancel()
        await asyncio.wait({feeder})
    if not feeder.cancelled():
        feeder.result()


async def _feed(process: Process, stdin: Feed) -> None:
    fed = False
    try:
        async for data in stdin:
            if process.ended:
                break
            await process.write(data)
        fed = True
    finally:
        if fed:
            process.write_eof()
        else:
            await process.close()


async def _pieces(data: bytes) -> Feed:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


async def _ends_within(process: Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await process.status()
    except (TimeoutError, UnreachableError):
        return process.ended
    return True


def failure(host: str, completed: Completed) -> CommandError:
    """NF-CMD-001: what a non-zero status becomes; ten lines of standard error are shown."""
    stderr = completed.stderr.decode("utf-8", "replace")
    hints = (CSH,) if "Unmatched '" in stderr else ()
    ended = f"signal {completed.status - 128}" if completed.status > 128 else f"status {completed.status}"
    return CommandError(
        f"`{_shown(completed.argv)}` ended with {ended}",
        status=completed.status,
        stderr=stderr,
        where=host,
        cause="\n".join(stderr.strip().splitlines()[-10:]),
        hints=hints,
    )


def _shown(argv: tuple[str, ...]) -> str:
    """A script is named by its first line; its text is ours and long."""
    if argv[:2] == ("sh", "-c"):
        return "sh: " + argv[2].strip().partition("\n")[0][:60]
    return " ".join(argv)[:120]
