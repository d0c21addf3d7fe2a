"""How fast a link is."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from novafleet.capability.migration import measure
from novafleet.capability.migration.measure import Links


async def test_a_pair_is_measured_once_and_no_two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: Counter[tuple[str, str]] = Counter()
    running = 0

    async def link_rate(source: Any, destination: Any) -> float:
        nonlocal running
        measured[source.host.name, destination.host.name] += 1
        running += 1
        assert running == 1, "they would share what there is"
        await asyncio.sleep(0)
        running -= 1
        return 5.0

    monkeypatch.setattr(measure, "link_rate", link_rate)
    links = Links()
    a, b, c = (SimpleNamespace(host=SimpleNamespace(name=name)) for name in "abc")
    rates = await asyncio.gather(*(links.rate(*pair) for pair in [(a, b), (a, c), (a, b), (b, a)]))  # type: ignore[arg-type]
    assert rates == [5.0] * 4
    assert measured == {("a", "b"): 1, ("a", "c"): 1, ("b", "a"): 1}
