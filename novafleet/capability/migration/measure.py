"""How fast bytes get from host to host, and how fast a guest changes its memory: measured, in a second or two."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from novafleet.capability.migration.ends import End
from novafleet.errors import HypervisorError
from novafleet.model.command import Command
from novafleet.ports import Streaming

log = logging.getLogger(__name__)

BYTES = 16 << 20
SECONDS = 1.0
SAMPLE = 1
"""Seconds QEMU looks at the guest's memory."""
TIMEOUT = 30.0


async def link_rate(source: End, destination: End) -> float:
    """Bytes a second through the controller, over a second at most. Random bytes: a connection may compress."""
    meter = _Meter()
    # In large pieces: head(1) writes 1 KiB at a time, and 15 times less gets through.
    give = Command(("dd", "if=/dev/urandom", "bs=1M", f"count={BYTES >> 20}"))
    take = Command.script("cat >/dev/null")
    async with (
        source.session.stream(give, timeout=TIMEOUT) as giving,
        destination.session.stream(take, stdin=meter.pass_on(giving), timeout=TIMEOUT) as taking,
    ):
        await taking.status()
    return meter.rate


class Links:
    """The rates of one run: each pair of hosts is measured once, and one at a time, for all lead through here."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._rates: dict[tuple[str, str], float] = {}

    async def rate(self, source: End, destination: End) -> float:
        """See ``link_rate``."""
        pair = source.host.name, destination.host.name
        async with self._one:
            if pair not in self._rates:
                self._rates[pair] = await link_rate(source, destination)
        return self._rates[pair]


class _Meter:
    """Counts what passes."""

    def __init__(self) -> None:
        self._began = self._ended = 0.0
        self._bytes = 0

    @property
    def rate(self) -> float:
        """Bytes a second from the first piece to the last; 0 for too few."""
        seconds = self._ended - self._began
        return self._bytes / seconds if seconds > 0 else 0.0

    async def pass_on(self, giving: Streaming) -> AsyncIterator[bytes]:
        """Pieces until time is up. The first only starts the clock."""
        async for output in giving:
            if output.stream != 1:
                continue
            now = time.monotonic()
            if not self._began:
                self._began = now
            else:
                self._bytes += len(output.data)
            self._ended = now
            yield output.data
            if now - self._began > SECONDS:
                return


async def dirty_rate(source: End, name: str) -> float:
    """Bytes of memory the guest changes a second; 0 where QEMU cannot tell."""
    try:
        return float(await source.hypervisor.dirty_rate(name, SAMPLE))
    except HypervisorError as error:
        log.info("the dirty rate of %s is not known: %s", name, error)
        return 0.0
