"""VMs that somebody migrated to a host the file does not name are looked for when they are missed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app import plan
from novafleet.app.plan import place
from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.model.migration import Phase
from tests.unit.plan.test_whereabouts import domain
from tests.unit.playbook.fleet import draft, written

FILE = "environment: lab\nvms: {db: {host: kvm1}}\n"


def facts(**domains: Domain) -> FleetFacts:
    return FleetFacts({host: HostFacts(host, 0.0, domains={each.name: each}) for host, each in domains.items()})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts asked; kvm2 has the VM, kvm3 does not answer in time."""
    names: list[str] = []

    async def gather(_world: Any, hosts: Collection[str], _kinds: Any) -> FleetFacts:
        names.extend(hosts)
        if "kvm3" in hosts:
            await asyncio.Event().wait()
        return facts(**{host: domain(phase=Phase.COMMITTED) for host in hosts if host == "kvm2"})

    monkeypatch.setattr(plan, "_gather", gather)
    monkeypatch.setattr(plan, "ELSEWHERE", 0.05)
    return names


async def test_other_hosts_are_asked_for_what_is_missing(tmp_path: Path, asked: list[str]) -> None:
    sheet = draft(written(tmp_path, FILE))
    world = cast(Any, SimpleNamespace(fleet=SimpleNamespace(hosts=dict.fromkeys(("kvm1", "kvm2", "kvm3")))))
    seen = FleetFacts({"kvm1": HostFacts("kvm1", 0.0)})
    assert await plan._strayed(world, sheet, seen) == {"kvm2"}
    assert sorted(asked) == ["kvm2", "kvm3"]


async def test_nobody_else_is_asked_when_all_are_there(tmp_path: Path, asked: list[str]) -> None:
    sheet = draft(written(tmp_path, FILE))
    world = cast(Any, SimpleNamespace(fleet=SimpleNamespace(hosts=dict.fromkeys(("kvm1", "kvm2")))))
    assert await plan._strayed(world, sheet, facts(kvm1=domain())) == frozenset()
    assert asked == []


def test_a_migrated_vm_is_placed_where_it_is_whatever_the_file_names(tmp_path: Path) -> None:
    vm = place(draft(written(tmp_path, FILE)), facts(kvm2=domain(phase=Phase.COMMITTED))).vms["db"]
    assert (vm.host, vm.moved_from, vm.between) == ("kvm2", "kvm1", "")


def test_one_that_was_moved_by_hand_is_not(tmp_path: Path) -> None:
    vm = place(draft(written(tmp_path, FILE)), facts(kvm2=domain())).vms["db"]
    assert (vm.host, vm.moved_from) == ("kvm1", "")


def test_one_between_two_hosts_is_said_to_be(tmp_path: Path) -> None:
    vm = place(draft(written(tmp_path, FILE)), facts(kvm1=domain("paused", Phase.SWITCHING))).vms["db"]
    assert vm.host == "kvm1"
    assert "from kvm1 to kvm2" in vm.between
