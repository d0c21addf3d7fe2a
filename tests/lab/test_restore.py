"""Restores to real hosts: the disks are identical, the guest boots, and nothing half-made stays."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.lab.backupbench import QUIET, Machine, Shop, kill, until
from tests.lab.restorebench import (
    BOOTED,
    POOL,
    Guest,
    definition,
    digest,
    left_over,
    network,
    new_shop,
    no_network,
    remove,
    restored,
    until_booted,
)
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
PAIRS = (("kvm1", "kvm3"), ("kvm3", "kvm1"))
"""libvirt 9.0/QEMU 7.2 as root, libvirt 11/QEMU 10 as a user who may sudo: up, and down again."""
MAC = "52:54:00:dd:00:01"


@pytest.fixture(params=[PAIRS[0], pytest.param(PAIRS[1], marks=pytest.mark.thorough)], ids="-to-".join)
async def shop(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Shop:
    return await new_shop(lab, request.param[0], fleet_home, tmp_path)


@pytest.fixture
def target(request: pytest.FixtureRequest, shop: Shop) -> str:
    """The other host."""
    return dict(PAIRS)[shop.host]


@pytest.fixture
def guest(shop: Shop, target: str) -> Iterator[Guest]:
    made = Guest(shop, "d-source")
    made.remove()
    for host in (shop.host, target):
        network(shop.lab, host)
    made.make(MAC)
    yield made
    made.remove()
    for host in (shop.host, target):
        remove(shop.lab, host, "d-copy")
        no_network(shop.lab, host)


def test_a_vm_on_another_host(guest: Guest, target: str) -> None:
    guest.start()
    row = guest.back_up()
    taken = guest.taken[row["snapshot"]]
    done = restored(guest.shop, row["snapshot"], "--host", target, "--as", "d-copy", "--no-start")
    lab = guest.shop.lab
    assert {disk["target"]: digest(lab, target, disk["path"]) for disk in done["disks"]} == taken
    assert left_over(lab, target) == ""
    root = definition(lab, target, "d-copy")
    assert root.findtext("uuid") == done["uuid"] != definition(lab, guest.shop.host, "d-source").findtext("uuid")
    assert done["macs"] != [MAC]
    lab.on(target, "virsh", "-q", "start", "d-copy")
    until_booted(lab, target, "d-copy")
    again = restored(guest.shop, row["snapshot"], "--host", target, "--as", "d-copy", status=1)
    assert again["error"]["code"] == "NF-BAK-030"
    assert lab.on(target, "virsh", "-q", "domstate", "d-copy").strip() == "running"


def test_a_vm_that_is_gone_comes_back_as_itself(guest: Guest) -> None:
    before = definition(guest.shop.lab, guest.shop.host, "d-source")
    row = guest.back_up()
    taken = guest.taken[row["snapshot"]]
    guest.remove()
    done = restored(guest.shop, row["snapshot"], "--host", guest.shop.host, "--as", "d-source", "--start")
    after = definition(guest.shop.lab, guest.shop.host, "d-source")
    assert [each.findtext("uuid") for each in (before, after)] == [done["uuid"]] * 2
    assert done["macs"] == [MAC]
    assert done["started"] is True
    until_booted(guest.shop.lab, guest.shop.host, "d-source")
    guest.shop.virsh("destroy", "d-source")
    assert digest(guest.shop.lab, guest.shop.host, done["disks"][1]["path"]) == taken["vdb"]
    remove(guest.shop.lab, guest.shop.host, "d-source")
    for disk in done["disks"]:
        guest.shop.on("rm", "-f", disk["path"])


def test_a_killed_restore_leaves_nothing_for_long(guest: Guest, target: str) -> None:
    row = guest.back_up()
    lab, words = guest.shop.lab, ("--host", target, "--as", "d-copy", "--yes")
    process = guest.shop.start("restore", row["snapshot"], *words)
    until(lambda: "nf-restore-" in left_over(lab, target))
    kill(process)
    assert not lab.answers(target, "virsh", "-q", "dominfo", "d-copy")
    done = restored(guest.shop, row["snapshot"], "--host", target, "--as", "d-copy")
    taken = guest.taken[row["snapshot"]]
    assert {disk["target"]: digest(lab, target, disk["path"]) for disk in done["disks"]} == taken
    assert left_over(lab, target) == ""


def test_disks_in_place(guest: Guest) -> None:
    shop, lab, host = guest.shop, guest.shop.lab, guest.shop.host
    snapshot = guest.back_up()["snapshot"]
    shop.on("qemu-io", "-f", "raw", "-c", "write -P 9 3M 300k", guest.disks["vdb"])
    changed = digest(lab, host, guest.disks["vdb"])
    one = restored(shop, snapshot, "--in-place", "--disk", "vdb")
    assert digest(lab, host, guest.disks["vdb"]) == guest.taken[snapshot]["vdb"]
    [kept] = [note.rpartition(": ")[2] for note in one["notes"]]
    assert digest(lab, host, kept) == changed
    restored(shop, snapshot, "--in-place")
    assert {name: digest(lab, host, path) for name, path in guest.disks.items()} == guest.taken[snapshot]
    guest.boot()
    refused = restored(shop, snapshot, "--in-place", status=1)
    assert refused["error"]["code"] == "NF-BAK-036"
    guest.shop.virsh("destroy", "d-source")
    assert guest.back_up()["state"] == "done"
    guest.verify()


def test_a_network_that_is_not_there(guest: Guest, target: str) -> None:
    snapshot = guest.back_up()["snapshot"]
    no_network(guest.shop.lab, target)
    said = restored(guest.shop, snapshot, "--host", target, "--as", "d-copy", status=1)
    assert said["error"]["code"] == "NF-BAK-033"
    network(guest.shop.lab, target, "d-other")
    try:
        done = restored(guest.shop, snapshot, "--host", target, "--as", "d-copy", "--network", "d-net=d-other")
        [source] = definition(guest.shop.lab, target, "d-copy").findall("devices/interface/source")
        assert (done["state"], source.get("network")) == ("done", "d-other")
    finally:
        no_network(guest.shop.lab, target, "d-other")


def test_instantly(guest: Guest, target: str) -> None:
    guest.start()
    row = guest.back_up()
    lab = guest.shop.lab
    done = restored(guest.shop, row["snapshot"], "--host", target, "--as", "d-copy", "--instant")
    assert done["started"] is True
    until_booted(lab, target, "d-copy")
    root = definition(lab, target, "d-copy")
    assert [each.get("type") for each in root.findall("devices/disk/driver")][:2] == ["qcow2", "qcow2"]
    lab.on(target, "virsh", "-q", "destroy", "d-copy")
    images = {disk["target"]: disk["path"] for disk in done["disks"]}
    assert digest(lab, target, images["vdb"]) == guest.taken[row["snapshot"]]["vdb"]
    assert "backing" not in lab.on(target, "qemu-img", "info", images["vda"])
    assert left_over(lab, target) == ""


def secure(root: Element) -> None:
    """UEFI and a TPM, as the newest machine type has them."""
    system, memory = root.find("os"), root.find("memory")
    devices = root.find("devices")
    assert system is not None
    assert memory is not None
    assert devices is not None
    memory.text = "128"
    system.set("firmware", "efi")
    SubElement(SubElement(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")


@pytest.mark.thorough
@pytest.mark.parametrize("more", [lambda _: None, secure], ids=["bios", "uefi-tpm"])
@pytest.mark.parametrize("pair", PAIRS, ids="-to-".join)
async def test_a_q35_vm_under_another_libvirt(
    lab: Lab, fleet_home: Path, tmp_path: Path, pair: tuple[str, str], more: Callable[[Element], None]
) -> None:
    """libvirt 11.3 writes what 9.0 does not know: the watchdog of q35, a format of the firmware, secure boot."""
    here, there = pair
    shop = await new_shop(lab, here, fleet_home, tmp_path)
    guest = Machine(shop, "d-source")
    guest.remove()
    remove(lab, there, "d-copy")

    def newest(root: Element) -> None:
        machine = root.find("os/type")
        assert machine is not None
        machine.set("machine", "q35")
        more(root)

    guest.create(("vda", "qcow2", "24M"), extra=newest)
    try:
        guest.start()
        guest.write("vda", "write -P 3 1M 1M")
        row = guest.back_up()
        done = restored(shop, row["snapshot"], "--host", there, "--as", "d-copy", "--start")
        assert done["started"] is True
        assert lab.on(there, *QUIET, "domstate", "d-copy").strip() == "running"
        root = definition(lab, there, "d-copy")
        assert root.findtext("os/nvram", "") == "" or lab.answers(there, "test", "-s", root.findtext("os/nvram", ""))
        lab.on(there, *QUIET, "destroy", "d-copy")
        assert digest(lab, there, done["disks"][0]["path"]) == guest.taken[row["snapshot"]]["vda"]
    finally:
        guest.remove()
        remove(lab, there, "d-copy")


def there(lab: Lab, host: str) -> list[str]:
    """Files, domains and networks of a drill on a host."""
    script = 'ls -A "$1"; virsh -q list --all --name; virsh -q net-list --all --name'
    said = lab.on(host, "sh", "-c", script, "sh", POOL)
    return [line for line in said.splitlines() if "drill-d-" in line or "nfd-" in line]


def test_a_drill_proves_and_leaves_nothing(guest: Guest, target: str) -> None:
    shop, lab = guest.shop, guest.shop.lab
    row = guest.back_up()
    done = shop.run("backup", "drill", f"{shop.host}/d-source", "--host", target, "--serial", BOOTED)
    assert (done["ok"], done["snapshot"], done["host"]) == (True, row["snapshot"], target)
    assert done["rto"] > 0
    assert BOOTED in done["gates"][f"serial:{BOOTED}"]
    assert there(lab, target) == []
    assert left_over(lab, target) == ""


def test_a_drill_that_fails_says_so(guest: Guest, target: str) -> None:
    guest.back_up()
    words = ("backup", "drill", "d-source", "--host", target, "--tcp", "22", "--wait", "15")
    done = guest.shop.run(*words, status=1)
    assert (done["ok"], done["error"]["code"]) == (False, "NF-GATE-001")
    assert not guest.shop.lab.answers(target, "virsh", "-q", "dominfo", "drill-d-source")


def cut(lab: Lab, host: str, process: subprocess.Popen[bytes]) -> None:
    """End a process's SSH connection to a host, from the host's side."""
    said = subprocess.run(("ss", "-Htnp"), capture_output=True, text=True, check=True).stdout
    address = lab.hosts[host].address
    ports = [
        line.split()[3].rpartition(":")[2]
        for line in said.splitlines()
        if f"pid={process.pid}," in line and f" {address}:22 " in line
    ]
    assert ports
    for port in ports:
        lab.on(host, "sh", "-c", CUT, "sh", port)


CUT = """\
ss -Htnp | grep ":$1 " | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u | xargs -r kill -9
"""


@pytest.mark.disturbs  # its QEMU waits for its disk, and what others ask of its host waits for its QEMU
@pytest.mark.parametrize("how", [cut, lambda _lab, _host, process: kill(process)], ids=["cut", "killed"])
def test_an_instant_restore_goes_on(guest: Guest, target: str, how: Callable[..., None]) -> None:
    shop, lab = guest.shop, guest.shop.lab
    row = guest.back_up()
    words = ("restore", row["snapshot"], "--host", target, "--as", "d-copy", "--instant", "--yes")
    process = shop.start(*words, "-o", "json")
    until(lambda: "running" in lab.on(target, *QUIET, "domstate", "d-copy", check=False))
    how(lab, target, process)
    done = shop.ended(process) if how is cut else shop.run(*words)
    until_booted(lab, target, "d-copy")
    lab.on(target, *QUIET, "destroy", "d-copy")
    images = {disk["target"]: disk["path"] for disk in done["disks"]}
    assert digest(lab, target, images["vdb"]) == guest.taken[row["snapshot"]]["vdb"]
    assert "backing" not in lab.on(target, "qemu-img", "info", images["vda"])
    assert left_over(lab, target) == ""
