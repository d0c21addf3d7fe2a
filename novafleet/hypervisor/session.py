"""One host's libvirt connection: worker threads, deadlines, reconnection. The only file that imports libvirt.

libvirt never runs on the event loop: the loop pumps the socket libvirt talks through, so a call made there would wait
for itself. libvirt's objects never leave the workers: a connection whose last reference died on the loop would make a
call there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any, TypeVar, TypeVarTuple

from novafleet.errors import DeadlineError, HypervisorError, NovaFleetError, Retry
from novafleet.hypervisor.dial import Dial, Line
from novafleet.hypervisor.translate import DENIED, LOST, NO_SUPPORT, Failure, lost, translate
from novafleet.hypervisor.workers import Workers
from novafleet.model.facts import DomainEvent
from novafleet.ports import Channel

WORKERS = 4
"""libvirtd serves 5 requests of one client at a time (max_client_requests); one is left for keepalive."""
GRACE = 1.0
"""Seconds a worker gets to notice that its socket has closed; it takes about a millisecond."""
EVENT_THREAD = "libvirt-events"
KEEPALIVE = (5, 3)
"""Seconds between probes, probes unanswered before libvirt gives the connection up."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_loading = threading.Lock()


class Handle:
    """What a worker function gets: the libvirt module, this connection, its event callbacks. Stays in the worker."""

    def __init__(self, libvirt: Any, connection: Any) -> None:
        self.libvirt = libvirt
        self.callbacks: set[int] = set()
        self.listeners: set[Callable[[DomainEvent], None]] = set()
        self.listening = threading.Lock()
        self._connection = connection

    @property
    def connection(self) -> Any:
        """The virConnect. Raises NovaFleetError in a thread that runs an event loop."""
        with suppress(RuntimeError):  # no loop runs in a worker
            asyncio.get_running_loop()
            raise NovaFleetError("libvirt was called on the event loop")
        return self._connection


@cache
def load() -> Any:
    """The libvirt module, loaded on first use, silent on stderr, its event loop running in one daemon thread.

    Keepalive answers and lifecycle events travel through that loop, so it starts before the first connection.
    Raises HypervisorError NF-LV-107 where libvirt-python is missing.
    """
    try:
        import libvirt
    except ImportError as exc:
        raise HypervisorError(
            "the libvirt client library cannot be loaded",
            code="NF-LV-107",
            cause=str(exc),
            hints=("apt-get install libvirt0 && pip install libvirt-python",),
            retry=Retry.AFTER_FIX,
        ) from exc
    with _loading:
        if not any(thread.name == EVENT_THREAD for thread in threading.enumerate()):
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_events, args=(libvirt,), name=EVENT_THREAD, daemon=True).start()
    return libvirt


def load_qemu() -> Any:
    """The libvirt_qemu module (guest agent)."""
    import libvirt_qemu

    return libvirt_qemu


class Link:
    """One open libvirt connection and its threads; it dies as a whole and is never repaired."""

    def __init__(self, host: str, line: Line, deadline: float) -> None:
        self.host = host
        self.line = line
        self._deadline = deadline
        self._workers = Workers(WORKERS, f"libvirt-{host}")
        self._running: set[asyncio.Future[Any]] = set()
        self._handle: Handle | None = None

    @property
    def lost(self) -> bool:
        """True when no call can succeed any more."""
        return self.line.ended.done()

    async def open(self) -> None:
        """Connect; on failure the line is closed."""
        try:
            self._handle = await self._submit("connect", self._deadline, partial(_open, self.line.uri))
        except NovaFleetError as error:
            await self.hang_up()
            if error.code == LOST:  # libvirt saw an end of file; the line knows why
                error.cause = self.line.ended.result() or error.cause
            raise
        except asyncio.CancelledError:
            await self.hang_up()
            raise

    async def run(self, what: str, function: Callable[[Handle, *Ts], T], *args: *Ts, deadline: float = 0.0) -> T:
        """Run ``function(handle, *args)`` in a worker.

        Raises what libvirt's error translates to, NF-LV-103 when the connection is lost, DeadlineError NF-LV-110
        after ``deadline`` seconds (default: the session's), having freed the worker.
        """
        if self._handle is None or self.lost:
            raise lost(what, self.host, self.line.ended.result() if self.lost else "")
        try:
            return await self._submit(what, deadline or self._deadline, partial(function, self._handle, *args))
        except HypervisorError as error:
            if error.code == LOST:
                await self.hang_up()
            error.at(self.host)
            raise

    async def hang_up(self) -> None:
        """Close the line first: every call under way fails at once and frees its worker."""
        await self.line.close()
        await self._wind_down()

    async def close(self) -> None:
        """Say goodbye, then hang up."""
        if not self.lost:
            await self._wind_down()
        await self.hang_up()

    async def _submit(self, what: str, deadline: float, work: Callable[[], T]) -> T:
        future = self._start(partial(self._work, what, work))
        await asyncio.wait({future}, timeout=deadline)
        if future.done():
            return future.result()
        await self.hang_up()
        raise DeadlineError(
            f"cannot {what}: libvirt did not answer within {deadline:g} s",
            code="NF-LV-110",
            where=self.host,
            cause="the connection was closed to free the call; whether it took effect on the host is unknown",
            hints=(f"systemctl status libvirtd virtqemud; virsh list   # on {self.host}: does it answer there?",),
        )

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.wrap_future(self._workers.submit(work))
        self._running.add(future)
        future.add_done_callback(self._finished)
        return future

    def _finished(self, future: asyncio.Future[Any]) -> None:
        self._running.discard(future)
        if not future.cancelled():
            future.exception()  # marks it as seen: the caller may have been cancelled meanwhile

    def _work(self, what: str, work: Callable[[], T]) -> T:
        libvirt = load()
        try:
            return work()
        except libvirt.libvirtError as error:
            # Its frames hold libvirt objects, which must not leave this thread.
            raise self._translated(what, error) from error.with_traceback(None)

    def _translated(self, what: str, error: Any) -> NovaFleetError:
        failure = Failure(error.get_error_code() or 0, error.get_error_domain() or 0, str(error))
        if self._handle is not None and not self._handle.connection.isAlive():
            return lost(what, self.host, failure.message)
        return translate(failure, what=what, host=self.host)

    async def _wind_down(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._start(partial(_farewell, handle))
        self._workers.dismiss()
        if self._running:
            await asyncio.wait(set(self._running), timeout=GRACE)


class Session:
    """The libvirt connection of one host, made on first use and made again after a loss."""

    def __init__(self, host: str, dial: Dial, *, deadline: float = 30.0) -> None:
        self.host = host
        self.deadline = deadline
        self._dial = dial
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None

    async def connected(self) -> Link:
        """The open link; callers who come while it is being opened share the attempt and its error."""
        if self._link is not None and not self._link.lost:
            return self._link
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def call(self, what: str, function: Callable[[Handle, *Ts], T], *args: *Ts, deadline: float = 0.0) -> T:
        """``Link.run`` on an open link."""
        link = await self.connected()
        return await link.run(what, function, *args, deadline=deadline)

    def another(self) -> Session:
        """A connection of its own to the same host, for a call that takes hours."""
        return Session(self.host, self._dial, deadline=self.deadline)

    async def channel(self) -> Channel:
        """The bytes of a connection to the daemon, for somebody else's libvirt."""
        return await self._dial.channel()

    async def close(self) -> None:
        """End connection and threads; a later call would connect again."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    async def _open(self) -> Link:
        if self._link is not None:
            await self._link.close()
        try:
            self._link = await self._attempt()
        except HypervisorError as error:
            # A socket anyone may write to can still demand authorisation (polkit), seen only now.
            if error.code != DENIED or not self._dial.elevate():
                raise
            self._link = await self._attempt()
        return self._link

    async def _attempt(self) -> Link:
        link = Link(self.host, await self._dial(), self.deadline)
        await link.open()
        return link

    def _opened(self, task: asyncio.Task[Link]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # marks it as seen: every waiter may have been cancelled meanwhile


@contextmanager
def unless(handle: Handle, number: int, harmless: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Let a libvirt error of that number pass where it only says that the wish is already true."""
    try:
        yield
    except handle.libvirt.libvirtError as error:
        if error.get_error_code() != number or not harmless():
            raise


def _run_events(libvirt: Any) -> None:
    while libvirt.virEventRunDefaultImpl() == 0:
        pass


def _open(uri: str) -> Handle:
    libvirt = load()
    connection = libvirt.open(uri)
    try:
        connection.setKeepAlive(*KEEPALIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != NO_SUPPORT:
            raise
    return Handle(libvirt, connection)


def _farewell(handle: Handle) -> None:
    for callback in handle.callbacks:
        with suppress(handle.libvirt.libvirtError):  # gone with the connection
            handle.connection.domainEventDeregisterAny(callback)
    with suppress(handle.libvirt.libvirtError):
        handle.connection.close()
