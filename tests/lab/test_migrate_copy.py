"""VMs carried from host to host with nothing but SSH: no write is lost, nothing is left over, all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from novafleet.capability.migration.cold import copy_cold
from novafleet.capability.migration.commit import commit
from novafleet.capability.migration.prepare import prepare
from novafleet.capability.migration.route import open_route
from novafleet.capability.migration.warm import copy_warm
from novafleet.model.migration import Mode, Path
from tests.lab.movebench import Traveller, road
from tests.labfixture import Lab

pytestmark = pytest.mark.lab
PAIRS = (("kvm1", "kvm2"), ("kvm2", "kvm1"), ("kvm2", "kvm3"))


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """From where to where."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def traveller(lab: Lab, pair: tuple[str, str]) -> Iterator[Traveller]:
    """A VM on the first host of the pair, that counts."""
    vm = Traveller(lab, f"mc-{'-'.join(pair)}")
    for host in pair:
        vm.remove(host)
    vm.create(pair[0])
    yield vm
    for host in pair:
        vm.remove(host)


@pytest.mark.parametrize("mode", [Mode.COLD, Mode.WARM], ids=str)
async def test_a_guest_that_counts_loses_nothing(traveller: Traveller, pair: tuple[str, str], mode: Mode) -> None:
    here, there = pair
    traveller.start(here)
    traveller.counts(here, beyond=20)
    before = traveller.digests(here)
    async with road(here, there) as way:
        move = traveller.move(here, there, mode, running=True)
        await prepare(way.ends, move)
        copied = await (copy_cold if mode is Mode.COLD else copy_warm)(way.ends, move)
        print(mode, copied)
        last = traveller.said(here)
        assert traveller.state(here) == "shut off"
        await asyncio.to_thread(traveller.counts, there, beyond=last)
        assert traveller.went_on_at(there) >= last
        kept = await commit(way.ends, move, mode)
    after = traveller.digests(there)
    assert {each: after[each] for each in ("vda", "vdc")} == {each: before[each] for each in ("vda", "vdc")}
    assert traveller.allocated(there, "vda") < 8 << 20, "the base image was copied into its overlay"
    assert (traveller.state(here), traveller.state(there)) == ("", "running")
    assert set(traveller.disks.values()) <= kept.files.keys()
    assert traveller.left_over(move.job, here, there) == ""


async def test_files_go_from_host_to_host_over_a_route(lab: Lab) -> None:
    """The controller's own route stands in for a tunnel: both ends are sockets, and QEMU's tools speak NBD over it."""
    vm = Traveller(lab, "mc-across")
    for host in ("kvm1", "kvm2"):
        vm.remove(host)
    vm.create("kvm1")
    try:
        before = vm.digests("kvm1")
        async with road("kvm1", "kvm2") as way:
            move = vm.move("kvm1", "kvm2", Mode.COLD, running=False)
            await prepare(way.ends, move)
            async with open_route(Path.RELAY, way.source, way.destination, move.job) as route:
                copied = await copy_cold(way.ends, move, replace(route, survives_controller=True))
            assert copied.sent == copied.total > 20 << 20
            await commit(way.ends, move, Mode.COLD)
        assert vm.digests("kvm2") == before
        assert vm.allocated("kvm2", "vdb") < 1 << 20
        assert vm.left_over(move.job, "kvm1", "kvm2") == ""
    finally:
        for host in ("kvm1", "kvm2"):
            vm.remove(host)
