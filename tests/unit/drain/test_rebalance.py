"""Weighing moves: hosts that could not be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app import rebalance
from novafleet.app.fleetview import FleetView
from novafleet.app.rebalance import Balanced, Order
from novafleet.app.wiring import SystemClock, World
from novafleet.errors import ExitCode, UnreachableError
from novafleet.model.fleet import Fleet, Group, Host
from novafleet.placement.picture import Picture
from novafleet.store.journal import Journal
from tests.unit.placement.fleets import site

HOSTS = {name: Host(name, name) for name in ("a", "b")}
WORLD = cast(World, SimpleNamespace(fleet=Fleet(HOSTS, {"all": Group("all", tuple(HOSTS))}), clock=SystemClock()))


def silent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These hosts cannot be asked."""

    async def see(world: World, hosts: Sequence[Host], window: float) -> FleetView:
        del world, window
        errors: Any = {name: UnreachableError(f"{name} is silent", code="NF-SSH-100") for name in names}
        return FleetView({host.name: Picture(site(host.name)) for host in hosts if host.name not in names}, errors)

    monkeypatch.setattr(rebalance, "see", see)


async def test_some_hosts_that_cannot_be_asked_make_it_partial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent(monkeypatch, "b")
    async with Journal(tmp_path / "journal.db") as journal:
        found = await rebalance._weigh(WORLD, journal, Order(()))
    assert (found.exit_code, Balanced(found).exit_code, *found.unseen) == (ExitCode.PARTIAL, ExitCode.PARTIAL, "b")


async def test_none_that_can_be_asked_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent(monkeypatch, "a", "b")
    async with Journal(tmp_path / "journal.db") as journal:
        with pytest.raises(UnreachableError, match="a is silent") as raised:
            await rebalance._weigh(WORLD, journal, Order(()))
    assert raised.value.exit_code is ExitCode.UNREACHABLE
