"""The right to change a host: a lock file there, held by one channel of our connection (docs/concepts/fencing.md)."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from novafleet.errors import FencedError, LockHeldError, NovaFleetError, Retry
from novafleet.model.command import Command

if TYPE_CHECKING:
    from novafleet.ports import Clock, HostSession, Streaming

DIRECTORY = "/run/lock/novafleet"
TTL = 15.0
"""Seconds without a heartbeat after which another controller may take the lease over."""
ANSWER_SECONDS = 45.0
"""The host's side may wait 5 s each for a connection to end, a lock to be freed, and orphans to end (twice)."""
POLL_SECONDS = 1.0
AT_ONCE = 3
"""Leases of single VMs and stacks held at once on one host: each takes a session of its connection for as long, of
which sshd has 10 (MaxSessions), and whoever holds a lease needs more of them."""
REFUSED = 121
"""Status of ``fence.sh`` when it ran nothing."""

CHECK = 'IFS= read -r grant <"$1" && [ "$grant" = "$2" ] && exit; sed -n 3p "$1"; exit 121'


@dataclass(frozen=True, slots=True)
class Held:
    """The leases a run holds, by host, and why it holds none on the others."""

    leases: Mapping[str, HostLease]
    failed: Mapping[str, NovaFleetError]


def file_of(scope: str) -> str:
    """The lease file of an environment, a VM (``vm.DOMAIN``) or a stack (``stack.PROJECT``) on a host."""
    return f"{DIRECTORY}/{quote(scope, safe='')}.lease"


@cache
def script(name: str) -> str:
    """The text of one of this package's scripts."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class HostLease:
    """One host's lease (``ports.Lease``). Made by ``hold_leases``; ``acquire`` and ``release`` are for it alone."""

    def __init__(self, session: HostSession, environment: str, run: str, clock: Clock, ttl: float = TTL) -> None:
        self.epoch = 0
        self.host = session.host.name
        self._session = session
        self.file = file_of(environment)
        """On the host; each heartbeat touches it."""
        self._run = run
        self._clock = clock
        self._ttl = ttl
        self._token = secrets.token_hex(8)
        self._sent: deque[float] = deque()
        self._proven = 0.0
        self._stderr = b""
        self._release = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None
        self._taken: FencedError | None = None
        self._renewing = asyncio.Lock()

    async def check(self) -> None:
        """Ask the host. Raises FencedError when somebody else holds the lease or did so since."""
        self._refuse_if_taken()
        asked = Command.script(CHECK, self.file, self.grant)
        completed = await self._session.run(asked, check=False, timeout=self._ttl)
        if completed.status:
            raise self._fenced(completed.text.strip())

    async def ensure(self) -> None:
        """Return at once while the last answered heartbeat is young; else ``confirm``."""
        self._refuse_if_taken()
        if not self._is_fresh:
            await self.confirm()

    async def confirm(self) -> None:
        """Ask the host, after taking the same lease up again where the connection that held it was lost.

        Raises FencedError, or UnreachableError when the host does not answer.
        """
        async with self._renewing:
            self._refuse_if_taken()
            if self._is_held:
                await self.check()
            else:
                await self._open(self.grant)

    def fenced(self, command: Command) -> Command:
        """The command behind a look at the lease on the host, in the same round trip; it ends with ``REFUSED``
        instead of running when the lease is not ours any more."""
        argv = ("sh", "-c", script("fence.sh"), "novafleet", self.file, self.grant, *command.argv)
        return replace(command, argv=argv)

    async def acquire(self) -> None:
        """Take the lease. Raises LockHeldError NF-LOCK-003 naming the holder, NF-LOCK-004 where none can be held."""
        await self._open("")

    async def release(self) -> None:
        """Give it back; the host's side has ended when this returns."""
        self._release.set()
        if self._holding is not None:
            await asyncio.wait({self._holding}, timeout=self._ttl)
            await _end(self._holding)

    @property
    def grant(self) -> str:
        """What the host knows it by."""
        return f"{self.epoch} {self._token}"

    @property
    def _is_held(self) -> bool:
        return self._holding is not None and not self._holding.done()

    @property
    def _is_fresh(self) -> bool:
        return self._is_held and self._clock.monotonic() - self._proven < self._ttl * 2 / 3

    def _refuse_if_taken(self) -> None:
        if self._taken is not None:
            raise self._taken

    async def _open(self, before: str) -> None:
        self._release = asyncio.Event()
        self._sent.clear()
        self._stderr = b""
        started = self._clock.monotonic()
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._hold(before, answer))
        task.add_done_callback(_seen)
        said = ""
        try:
            waits: set[asyncio.Future[Any]] = {task, answer}
            await asyncio.wait(waits, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            said = answer.result() if answer.done() else ""
        finally:
            if not said.startswith("granted "):
                await _end(task)
        if not said.startswith("granted "):
            raise self._refusal(said, task)
        self.epoch = int(said.split()[1])
        self._proven = started
        self._holding = task

    async def _hold(self, before: str, answer: asyncio.Future[str]) -> None:
        arguments = (self.file, self._token, self._holder(), f"{self._ttl:.0f}", before)
        command = Command.script(script("hold.sh"), *arguments, become=True)
        async with self._session.stream(command, stdin=self._beats()) as running:
            async for line in self._lines(running):
                if not answer.done():
                    answer.set_result(line)
                elif self._sent:
                    self._proven = self._sent.popleft()

    def _holder(self) -> str:
        since = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds")
        return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()}, run {self._run}, since {since})"

    async def _lines(self, running: Streaming) -> AsyncIterator[str]:
        text = b""
        async for piece in running:
            if piece.stream != 1:
                self._stderr = (self._stderr + piece.data)[-4096:]
                continue
            *whole, text = (text + piece.data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")

    async def _beats(self) -> AsyncIterator[bytes]:
        while not self._release.is_set():
            self._sent.append(self._clock.monotonic())
            yield b"beat\n"
            await self._pause()
        yield b"release\n"

    async def _pause(self) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(self._ttl / 5))
        released = asyncio.ensure_future(self._release.wait())
        try:
            await asyncio.wait({sleep, released}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            released.cancel()

    def _refusal(self, said: str, task: asyncio.Task[None]) -> NovaFleetError:
        reason, _, rest = said.partition(" ")
        if reason == "taken":
            return self._fenced(rest)
        if reason == "held":
            return _held(self.host, rest)
        if reason == "busy":
            return _busy(self.host, rest)
        failed = None if task.cancelled() else _root(task.exception())
        return failed or _unusable(self.host, rest or self._stderr.decode("utf-8", "replace").strip())

    def _fenced(self, holder: str) -> FencedError:
        self._taken = FencedError(
            f"{self.host} is no longer ours to change: taken over by {holder or 'nobody, but the host was restarted'}",
            where=self.host,
            hints=("novafleet status   # see what the other run made of it, then plan again",),
        )
        return self._taken


@asynccontextmanager
async def hold_leases(
    sessions: Sequence[HostSession],
    environment: str,
    run: str,
    clock: Clock,
    *,
    wait: float = 0.0,
    ttl: float = TTL,
    waiting: Callable[[LockHeldError], None] = lambda _held: None,
) -> AsyncIterator[Held]:
    """Hold the lease of an environment on each of these hosts.

    All are asked at once. If another run holds one and ``wait`` allows it, all are given back and taken one by one
    in the order of their names, so that two runs never wait for each other; ``waiting`` is told for whom.
    Raises LockHeldError NF-LOCK-003 (after ``wait`` seconds) naming the holder; a host that fails otherwise is in
    ``Held.failed`` and must not be changed.
    """
    ordered = sorted(sessions, key=lambda session: session.host.name)
    leases = [HostLease(session, environment, run, clock, ttl) for session in ordered]
    try:
        failed = await _acquire(leases, clock, wait, waiting)
        yield Held({lease.host: lease for lease in leases if lease.host not in failed}, failed)
    finally:
        await asyncio.gather(*(lease.release() for lease in leases))


async def _acquire(
    leases: Sequence[HostLease], clock: Clock, wait: float, waiting: Callable[[LockHeldError], None]
) -> Mapping[str, NovaFleetError]:
    failed = dict(zip(leases, await asyncio.gather(*(_attempt(lease) for lease in leases)), strict=True))
    held = next((error for error in failed.values() if isinstance(error, LockHeldError)), None)
    if held is not None and not wait:
        raise held
    if held is not None:
        waiting(held)
        await asyncio.gather(*(lease.release() for lease in leases))
        deadline = clock.monotonic() + wait
        failed = {lease: await _attempt_until(lease, clock, deadline) for lease in leases}
    return {lease.host: error for lease, error in failed.items() if error is not None}


async def _attempt(lease: HostLease) -> NovaFleetError | None:
    try:
        await lease.acquire()
    except NovaFleetError as error:
        return error
    return None


async def _attempt_until(lease: HostLease, clock: Clock, deadline: float) -> NovaFleetError | None:
    while isinstance(error := await _attempt(lease), LockHeldError):
        if clock.monotonic() >= deadline:
            raise error
        await clock.sleep(POLL_SECONDS)
    return error


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # a lost connection is met by the next ``ensure``


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _root(error: BaseException | None) -> NovaFleetError | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, NovaFleetError) else None


def _held(host: str, said: str) -> LockHeldError:
    age, _, holder = said.partition(" ")
    return LockHeldError(
        f"{host} is being changed by {holder or 'a run that is just starting'}",
        code="NF-LOCK-003",
        where=host,
        cause=f"its last sign of life was {age} s ago",
        hints=("add --lock-wait 60 to wait for it",),
    )


def _busy(host: str, pids: str) -> LockHeldError:
    listed = ",".join(pids.split())
    return LockHeldError(
        f"commands of an earlier run are still going on on {host} and cannot be killed",
        code="NF-LOCK-006",
        where=host,
        hints=(f"ps -o pid,stat,etime,args -p {listed}   # on {host}: state D waits for a disk or NFS",),
    )


def _unusable(host: str, cause: str) -> NovaFleetError:
    return NovaFleetError(
        f"no lease can be held on {host}",
        code="NF-LOCK-004",
        where=host,
        cause=cause.removeprefix("unsafe "),
        hints=(
            f"ls -ld {DIRECTORY}   # on {host}: root's own directory; `become: true` where we do not log in as root",
        ),
        retry=Retry.AFTER_FIX,
    )
