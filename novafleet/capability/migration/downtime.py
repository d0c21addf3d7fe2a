"""How long a guest stood still, seen from outside: by the events of both hosts, and by a third one that asks it."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.scripts import script
from novafleet.errors import HypervisorError, NovaFleetError
from novafleet.model.facts import DomainEvent
from novafleet.ports import HostSession, Hypervisor

INTERVAL_MS = 10.0
STAMP = re.compile(rb"^\[(\d+\.\d+)\] \d+ bytes from ")
TRIED = 4
"""Hosts that are asked whether they reach the guest."""
UNKNOWN = -1.0
Watcher = Callable[[], Awaitable[HostSession]]
"""Connects to a host that may ask the guest; only done where there is something to ask."""


@dataclass(slots=True)
class EventClock:
    """When the guest stopped on the source and went on on the destination, both by our clock: seconds, 0 if not seen.

    Events carry no times of their own; each took half a round trip to us.
    """

    stopped: float = 0.0
    resumed: float = 0.0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def milliseconds(self) -> float:
        """Between the two; -1 when one of them was not seen."""
        return (self.resumed - self.stopped) * 1000 if 0 < self.stopped <= self.resumed else UNKNOWN


@asynccontextmanager
async def event_clock(source: Hypervisor, destination: Hypervisor, domain: str) -> AsyncIterator[EventClock]:
    """Watch both hosts from now on. The last stop counts: one called off has a resume of its own on the source."""
    clock = EventClock()

    def stopped(event: DomainEvent) -> None:
        if event.kind == "suspended":
            clock.stopped = event.at

    def resumed(event: DomainEvent) -> None:
        if event.kind == "resumed" and not clock.resumed:
            clock.resumed = event.at
            clock.complete.set()

    async with source.events() as leaving, destination.events() as arriving:
        tasks = [
            asyncio.create_task(_hear(leaving, domain, stopped)),
            asyncio.create_task(_hear(arriving, domain, resumed)),
        ]
        try:
            yield clock
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(events: AsyncIterator[DomainEvent], domain: str, seen: Callable[[DomainEvent], None]) -> None:
    try:
        async for event in events:
            if event.domain == domain:
                seen(event)
    except HypervisorError:
        return  # the connection is gone: nothing more is measured, and whoever drives the migration hears of it too


@dataclass(slots=True)
class Silence:
    """Answers of a guest to somebody who asks every 10 ms: ``watcher`` asked ``address``; the longest gap in ms."""

    watcher: str = ""
    address: str = ""
    answers: int = 0
    longest: float = 0.0
    _last: float = field(default=0.0, repr=False)

    def hear(self, line: bytes) -> None:
        """One line of ``ping -D``; its times are the watcher's, so that the way to us does not count."""
        found = STAMP.match(line)
        if found is None:
            return
        at = float(found[1])
        if self._last:
            self.longest = max(self.longest, (at - self._last) * 1000)
        self._last = at
        self.answers += 1

    @property
    def milliseconds(self) -> float:
        """Without the pause between two questions; -1 where nobody could ask."""
        return max(0.0, self.longest - INTERVAL_MS) if self.answers > 1 else UNKNOWN


@asynccontextmanager
async def outside(source: End, domain: str, watchers: Sequence[Watcher]) -> AsyncIterator[Silence]:
    """Have the first host that reaches the guest ask it for as long as this lasts. Nobody waits until one is found."""
    silence = Silence()
    task = asyncio.create_task(_watch(source, domain, watchers, silence))
    try:
        yield silence
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def addresses(host: HostSession, domain: str) -> tuple[str, ...]:
    """What can be asked of a guest: no loopback, nothing that counts on one link only."""
    done = await host.run(script("addresses.sh", domain), timeout=20.0, check=False)
    found = (word.partition("/")[0] for line in done.text.splitlines() for word in line.split()[3:4])
    return tuple(dict.fromkeys(each for each in found if _routable(each)))


def _routable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


async def _vantage(found: Sequence[str], watchers: Sequence[Watcher], silence: Silence) -> HostSession | None:
    for address in found:
        for reached in watchers[:TRIED]:
            try:
                watcher = await reached()
                done = await watcher.run(script("reaches.sh", address), timeout=10.0, check=False)
            except NovaFleetError:
                continue  # one that does not answer us cannot watch
            if done.ok:
                silence.watcher, silence.address = watcher.host.name, address
                return watcher
    return None


async def _watch(source: End, domain: str, watchers: Sequence[Watcher], silence: Silence) -> None:
    rest = b""
    try:
        watcher = await _vantage(await addresses(source.session, domain), watchers, silence) if watchers else None
        if watcher is None:
            return
        async with watcher.stream(script("ping.sh", silence.address)) as running:
            async for piece in running:
                *lines, rest = (rest + piece.data).split(b"\n")
                for line in lines:
                    silence.hear(line)
    except NovaFleetError:
        return  # what was heard until then counts
