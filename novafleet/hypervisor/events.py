"""Lifecycle events: called back in libvirt's event thread, consumed by asyncio as frozen facts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from novafleet.hypervisor.session import Handle, Session
from novafleet.hypervisor.states import event_words
from novafleet.hypervisor.translate import lost
from novafleet.model.facts import DomainEvent

Listeners = set[Callable[[DomainEvent], None]]


@asynccontextmanager
async def lifecycle(session: Session) -> AsyncIterator[AsyncIterator[DomainEvent]]:
    """Lifecycle events of one host from now on.

    The iterator raises HypervisorError NF-LV-103 when the connection ends: what happened since is unknown, so the
    consumer observes again before it subscribes anew.
    """
    link = await session.connected()
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[DomainEvent | None] = asyncio.Queue()

    def put(event: DomainEvent) -> None:
        with suppress(RuntimeError):  # the asyncio loop has closed: nobody waits for events any more
            loop.call_soon_threadsafe(queue.put_nowait, event)

    await link.run("watch events", _listen, put)
    link.line.ended.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        yield _drain(queue, session.host, link.line.ended)
    finally:
        if not link.lost:
            await link.run("stop watching events", _unlisten, put)


async def _drain(
    queue: asyncio.Queue[DomainEvent | None], host: str, ended: asyncio.Future[str]
) -> AsyncIterator[DomainEvent]:
    while (event := await queue.get()) is not None:
        yield event
    raise lost("watch events", host, ended.result())


def _listen(handle: Handle, put: Callable[[DomainEvent], None]) -> None:
    # libvirt takes one callback of a kind on a connection ("event callback already tracked"): all listeners share it.
    with handle.listening:
        handle.listeners.add(put)
        if not handle.callbacks:
            kind = handle.libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
            handle.callbacks.add(handle.connection.domainEventRegisterAny(None, kind, _changed, handle.listeners))


def _changed(_connection: Any, domain: Any, event: int, detail: int, listeners: Listeners) -> None:
    seen = DomainEvent(domain.name(), *event_words(event, detail), at=time.time())
    for put in tuple(listeners):
        put(seen)


def _unlisten(handle: Handle, put: Callable[[DomainEvent], None]) -> None:
    with handle.listening:
        handle.listeners.discard(put)
