"""VMs carried from host to host with nothing but SSH: no write is lost, nothing is left over, all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as File
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from novafleet.capability.migration.cold import copy_cold
from novafleet.capability.migration.commit import commit
from novafleet.capability.migration.prepare import prepare
from novafleet.capability.migration.route import open_route
from novafleet.capability.migration.warm import copy_warm
from novafleet.model.migration import Mode, Path
from tests.e2e.controller import Controller, wait_for
from tests.lab.movebench import POOL, VIRSH, Traveller, road
from tests.lab.test_migrate import Pinned
from tests.labfixture import Lab, lost_power

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
PAIRS = (("kvm1", "kvm2"), ("kvm2", "kvm1"), ("kvm2", "kvm3"))


@pytest.fixture(
    params=[PAIRS[1], *(pytest.param(each, marks=pytest.mark.thorough) for each in PAIRS[::2])], ids="-".join
)
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
        with lost_power(traveller.lab, here, traveller.name):
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


MOMENTS = {
    "prepare": ("there", 'grep -lF " $1" /var/lib/novafleet/migrate/*/manifest'),
    "copy": ("there", '[ "$(stat -c %b "$2/$1.vdc.qcow2")" -gt 4096 ]'),
    "commit": ("here", 'grep -lF "\\"$1\\"" /var/lib/novafleet/quarantine/*/record.json'),
}
"""When to kill: a condition on one of the hosts, given the VM and the pool."""


@pytest.fixture
def controller(lab: Lab, tmp_path: File) -> Controller:
    """A controller of its own."""
    return Controller(lab, tmp_path / "home")


@pytest.fixture
def resting(lab: Lab) -> Iterator[Traveller]:
    """A VM on kvm1 that is off."""
    vm = Traveller(lab, "mc-resting")
    for host in ("kvm1", "kvm2"):
        vm.remove(host)
    vm.create("kvm1")
    yield vm
    for host in ("kvm1", "kvm2"):
        vm.remove(host)


@pytest.mark.thorough
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_controller_is_made_good_by_recover_or_the_next_run(
    lab: Lab, resting: Traveller, controller: Controller, moment: str
) -> None:
    hosts, vm = {"here": "kvm1", "there": "kvm2"}, resting
    before = vm.digests("kvm1")
    words = ("migrate", vm.name, "--to", "kvm2", "--mode", "cold", "--path", "relay", "--yes")
    process = controller.start(*words, "--bandwidth", "3M")
    side, condition = MOMENTS[moment]
    wait_for(
        lambda: lab.answers(hosts[side], "sh", "-c", condition, "sh", vm.name, POOL) or process.poll() is not None,
        120,
        moment,
    )
    process.kill()
    process.communicate()
    controller.ok("migrate", "recover", vm.name, "--lock-wait", "60")
    if vm.state("kvm1"):
        assert vm.state("kvm2") == ""
        controller.ok(*words, "--lock-wait", "60")
    assert (vm.state("kvm1"), vm.state("kvm2")) == ("", "shut off")
    assert vm.digests("kvm2") == before
    assert vm.left_over("", *hosts.values()) == ""


class Newest(Pinned):
    """Of the newest machine type of QEMU 10.0."""

    def _xml(self) -> Element:
        root = super()._xml()
        found = root.find("os/type")
        assert found is not None
        found.set("machine", "q35")
        return root

    def machine(self, host: str) -> str:
        """As the definition there has it."""
        xml = ElementTree.fromstring(self.lab.on(host, *VIRSH, "dumpxml", "--inactive", self.name))
        found = xml.find("os/type")
        return "" if found is None else found.get("machine", "")


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["warm", "cold"])
def test_an_older_qemu_boots_it_as_the_newest_of_its_kind(lab: Lab, controller: Controller, mode: str) -> None:
    vm = Newest(lab, f"mc-newest-{mode}")
    for host in ("kvm2", "kvm1"):
        vm.remove(host)
    try:
        vm.create("kvm2")
        vm.start("kvm2")
        assert vm.machine("kvm2") == "pc-q35-10.0"
        words = ("migrate", f"kvm2/{vm.name}", "--to", "kvm1", "--mode", mode)
        found = {each["code"]: each for each in controller.json(*words, "--plan")["findings"]}
        assert found["NF-MIG-311"]["severity"] == "warning"
        last = vm.said("kvm2")
        moved = controller.json(*words, "--yes")
        assert (moved["mode"], moved["verified"], vm.machine("kvm1")) == (mode, True, "pc-q35-7.2")
        vm.counts("kvm1", beyond=last, seconds=300)
        last = vm.went_on_at("kvm1")
        back = controller.json("migrate", "undo", vm.name, "--yes")
        assert (back["destination"], vm.state("kvm1")) == ("kvm2", "")
        vm.counts("kvm2", beyond=last, seconds=300)
    finally:
        for host in ("kvm2", "kvm1"):
            vm.remove(host)


def test_undo_brings_it_back_and_what_was_kept_goes(resting: Traveller, controller: Controller) -> None:
    words = ("migrate", resting.name, "--to", "kvm2", "--mode", "cold", "--path", "relay", "--yes")
    moved = controller.json(*words)
    assert (moved["vm"], moved["mode"], moved["path"], moved["verified"]) == (resting.name, "cold", "relay", True)
    [kept] = [each for each in controller.json("migrate", "ls")["kept"] if each["domain"] == resting.name]
    assert (kept["source"], kept["undo_until"]) == ("kvm1", moved["undo_until"])
    resting.lab.on("kvm2", "qemu-io", "-f", "raw", "-c", "write -P 3 5M 1M", resting.disks["vdb"])
    now = resting.digests("kvm2")
    back = controller.json("migrate", "undo", resting.name, "--yes")
    assert (back["source"], back["destination"]) == ("kvm2", "kvm1")
    assert resting.digests("kvm1") == now
    assert (resting.state("kvm1"), resting.state("kvm2")) == ("shut off", "")
    left = [each for each in controller.json("migrate", "ls")["kept"] if each["domain"] == resting.name]
    assert [each["source"] for each in left] == ["kvm2"]
    refused = controller.json("migrate", "undo", "mc-nobody", "--yes", status=1)["errors"][0]
    assert (refused["code"], bool(refused["hints"])) == ("NF-MIG-504", True)
