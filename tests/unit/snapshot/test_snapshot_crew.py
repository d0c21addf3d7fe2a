"""Whom a snapshot of several VMs is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from novafleet.app import snapshotrun
from novafleet.app.party import Party, Selected
from novafleet.app.vmselect import Chosen
from novafleet.model.facts import Domain
from novafleet.model.fleet import Host

DISK = "<disk type='file' device='disk'><source file='/a'/><target dev='vda'/></disk>"
CD = "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"


def vm(name: str, devices: str) -> Chosen:
    xml = f"<domain><name>{name}</name><devices>{devices}</devices></domain>"
    return Chosen(Host("kvm1", ""), Domain(name, name, "running", xml), name, "lab")


WITH, WITHOUT = vm("with", DISK), vm("without", CD)


@pytest.mark.parametrize(
    ("asked", "chosen", "kept"),
    [
        (Selected((), environment="lab"), (WITH, WITHOUT), ["with"]),
        (Selected((), ("lab/*",)), (WITH, WITHOUT), ["with"]),
        (Selected((), ("with", "without")), (WITH, WITHOUT), ["with", "without"]),
        (Selected((), environment="lab"), (WITHOUT,), ["without"]),
    ],
    ids=["environment", "pattern", "named", "nobody-else"],
)
async def test_who_has_no_disk_is_left_out_unless_named(
    monkeypatch: pytest.MonkeyPatch, asked: Selected, chosen: tuple[Chosen, ...], kept: list[str]
) -> None:
    @asynccontextmanager
    async def party(_asked: Selected) -> AsyncIterator[Party]:
        world: Any = SimpleNamespace()
        yield Party(world, chosen, {}, {}, {}, "r")

    monkeypatch.setattr(snapshotrun, "party", party)
    async with snapshotrun.crew_of(asked) as crew:
        assert [each.vm for each in crew.chosen] == kept
        assert len(crew.left_out) == len(chosen) - len(kept)
