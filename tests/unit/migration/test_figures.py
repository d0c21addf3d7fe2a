"""Figures that nobody waits for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from novafleet.app.figures import UNMEASURED, Figures, Rates
from novafleet.app.migrate import Request
from novafleet.model.migration import Dossier, Mode, Wanted
from tests.unit.migration.dossiers import dossier

MADE = dossier()
JOB = MADE.move.job


def judged(rates: Rates) -> Dossier:
    return replace(MADE, link_rate=rates[0], dirty_rate=rates[1])


class Measured(Figures):
    """Answers when told to."""

    def __init__(self, *, late: bool, fails: bool = False) -> None:
        super().__init__(late=late)
        self.go, self.fails, self.cut_off = asyncio.Event(), fails, False

    async def _measured(self, ends: Any, name: str, *, running: bool) -> Rates:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cut_off = True
            raise
        if self.fails:
            raise OSError("the host is gone")
        return 7.0, 3.0

    async def asked(self) -> Rates:
        rates = await self.of(JOB, (None, None), "db", running=True)  # type: ignore[arg-type]
        self.judge(JOB, judged)
        return rates


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_dossier_waits_for_its_figures() -> None:
    async with Measured(late=False) as figures:
        figures.go.set()
        assert await figures.asked() == (7.0, 3.0)
        assert figures.completed(MADE) is MADE


async def test_late_figures_complete_the_dossier_when_they_have_come() -> None:
    async with Measured(late=True) as figures:
        assert await figures.asked() == UNMEASURED
        await settled()
        assert figures.completed(MADE) is MADE
        figures.go.set()
        await settled()
        assert figures.completed(MADE).link_rate == 7.0
        assert figures.completed(MADE).dirty_rate == 3.0


async def test_what_fails_late_is_not_foretold() -> None:
    async with Measured(late=True, fails=True) as figures:
        await figures.asked()
        figures.go.set()
        await settled()
        assert figures.completed(MADE) is MADE


async def test_a_run_that_ends_does_not_wait_for_them() -> None:
    async with Measured(late=True) as figures:
        await figures.asked()
        await settled()
    assert figures.cut_off
    assert figures.completed(MADE) is MADE


@pytest.mark.parametrize(
    ("agreed", "mode", "late"), [(True, "live", True), (False, "live", False), (True, "auto", False)]
)
def test_who_waits(agreed: bool, mode: str, late: bool) -> None:
    """A person who is asked, and a choice of mode."""
    request = Request((), ("db",), "kvm2", Wanted(mode=Mode(mode)), agreed=agreed)
    assert request.figures.late is late
