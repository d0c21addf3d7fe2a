"""What an outlook rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from novafleet.app import whatif
from novafleet.app.fleetview import FleetView
from novafleet.app.whatif import Question
from novafleet.app.wiring import Places, World
from novafleet.errors import UnreachableError
from novafleet.model.encode import encode
from novafleet.model.fleet import Host
from novafleet.placement.picture import Picture
from novafleet.store import pictures
from novafleet.store.pictures import Sample
from tests.unit.placement.fleets import site

NAMES = ("a", "b", "c")


async def test_hosts_that_cannot_be_asked_are_as_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def see(world: World, hosts: Sequence[Host]) -> FleetView:
        del world, hosts
        silent = {name: UnreachableError(f"{name} is silent") for name in ("b", "c")}
        return FleetView({"a": Picture(site("a", taken_at=9.0))}, silent)

    monkeypatch.setattr(whatif, "see", see)
    before = Picture(site("b", taken_at=2.0))
    pictures.remember(tmp_path / "pictures", "b", encode(before), Sample(2.0))
    world = cast(World, SimpleNamespace(places=Places(tmp_path, tmp_path / "known_hosts")))
    question = Question((), "host-down", "b", refresh=True)
    view = await whatif._view(world, question, [Host(name, name) for name in NAMES])
    assert (list(view.pictures), view.pictures["b"], view.taken_at) == (["a", "b"], before, 2.0)
    whatif._require(question, view, NAMES)
    with pytest.raises(UnreachableError, match="c is silent"):
        whatif._require(Question((), "host-down", "c", refresh=True), view, NAMES)
