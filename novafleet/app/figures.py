"""What is measured for the dossiers of one run: the rates of links, and of the memory that guests change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from novafleet.app.context import Reached
from novafleet.capability.migration.measure import Links, dirty_rate
from novafleet.model.migration import Dossier
from novafleet.together import together

log = logging.getLogger(__name__)

Rates = tuple[float, float]
"""Bytes a second of the link, and of memory that the guest changes; 0: not measured."""
Judged = Callable[[Rates], Dossier]
UNMEASURED: Rates = (0.0, 0.0)


class Figures:
    """Those of one run. ``late``: they come while its guests are on their way already, for nobody is asked and no mode
    is chosen by them; a second or two that no guest waits for. A measurement that fails late is one that never was."""

    def __init__(self, *, late: bool = False) -> None:
        self.late = late
        self._links = Links()
        self._coming: dict[str, asyncio.Task[Rates]] = {}
        self._judged: dict[str, Judged] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever is still being measured is not waited for."""
        for task in self._coming.values():
            task.cancel()
        await asyncio.gather(*self._coming.values(), return_exceptions=True)

    async def of(self, job: str, ends: tuple[Reached, Reached], name: str, *, running: bool) -> Rates:
        """Measured now, in a second or two, unless they come late. Raises what a lost host raises."""
        measuring = self._measured(ends, name, running=running)
        if not self.late:
            return await measuring
        self._coming[job] = asyncio.create_task(measuring)
        return UNMEASURED

    async def _measured(self, ends: tuple[Reached, Reached], name: str, *, running: bool) -> Rates:
        """What is off changes nothing."""
        if running:
            return await together(self._links.rate(*ends), dirty_rate(ends[0], name))
        return await self._links.rate(*ends), 0.0

    def judge(self, job: str, judged: Judged) -> None:
        """``judged`` makes the job's dossier of its figures."""
        self._judged[job] = judged

    def completed(self, dossier: Dossier) -> Dossier:
        """With the figures that came since it was made; as it was where none did."""
        job = dossier.move.job
        measuring = self._coming.get(job)
        if measuring is None or not measuring.done() or measuring.cancelled():
            return dossier
        if error := measuring.exception():
            log.info("nothing is foretold of %s: %s", dossier.move.domain, error)
            return dossier
        return self._judged[job](measuring.result())
