"""The dossier of real hosts, what is refused before anything is touched, and migrations whose controller is killed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.e2e.controller import Controller, wait_for
from tests.lab.movebench import POOL, VIRSH, Pinned
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
HERE, THERE = "kvm1", "kvm2"
NAME = "mb-recovered"
SHARED = "/srv/shared"
BOOT = 300.0
"""Seconds a guest without KVM may take on a busy machine."""
BACKUP = """<domainbackup mode="pull"><server transport="unix" socket="/var/tmp/mb-nbd.sock"/><disks>
<disk name="vdc" backup="yes" type="file"><scratch file="/var/tmp/mb-scratch"/></disk>
<disk name="vda" backup="no"/><disk name="vdb" backup="no"/><disk name="vdz" backup="no"/></disks></domainbackup>"""
BEGIN = 'cat >/tmp/mb-backup.xml && virsh -q -c qemu:///system backup-begin "$1" /tmp/mb-backup.xml'
TRACES = """\
virsh -q -c qemu:///system list --all --name | grep "^$2"
ls -A "$1" | grep "^$2"
grep -lF " $2" /var/lib/novafleet/migrate/*/manifest 2>/dev/null
exit 0
"""


class Guest(Pinned):
    """``devices`` are added."""

    devices: tuple[Element, ...] = ()

    def _xml(self) -> Element:
        root = super()._xml()
        devices = root.find("devices")
        assert devices is not None
        devices.extend(self.devices)
        return root


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Controller:
    """A controller that never saw these hosts."""
    return Controller(lab, tmp_path / "home")


@pytest.fixture
def guest(lab: Lab) -> Iterator[Guest]:
    """A VM on the first host; it counts once it has booted."""
    vm = Guest(lab, NAME, "64M")
    for host in (HERE, THERE):
        vm.remove(host)
    vm.create(HERE)
    lab.on(HERE, *VIRSH, "start", NAME)
    yield vm
    for host in (HERE, THERE):
        vm.remove(host)


def traces(lab: Lab, host: str) -> str:
    """What there is of the VM, and of any migration's making."""
    return lab.on(host, "sh", "-c", TRACES, "sh", POOL, NAME)


@pytest.mark.thorough
def test_the_dossier_measures_finds_and_changes_nothing(lab: Lab, guest: Guest, controller: Controller) -> None:
    before = [traces(lab, host) for host in (HERE, THERE)]
    found = controller.json("migrate", NAME, "--to", THERE, "--plan")
    assert [traces(lab, host) for host in (HERE, THERE)] == before
    assert (found["vm"], found["source"], found["destination"], found["possible"]) == (NAME, HERE, THERE, True)
    blockers = [each for each in found["findings"] if each["severity"] == "blocker"]
    refused = {mode for each in blockers for mode in each["modes"]}
    assert set(found["ladder"]) == {"live", "postcopy", "warm", "cold"} - refused, blockers
    assert {each["code"] for each in blockers} <= {"NF-MIG-104", "NF-MIG-344"}  # no userfaultfd; a busy machine
    assert found["link_rate"] > 0
    assert found["paths"]["relay"] == ""
    disks = {disk["target"]: disk for disk in found["disks"]}
    assert disks["vda"]["backing"].endswith(guest.image("base")[2])
    assert disks["vda"]["size"] == 96 << 20
    assert not any(disk["shared"] for disk in disks.values())
    kinds = {file["kind"] for file in found["files"]}
    assert {"image", "kernel", "initrd"} <= kinds
    for verdict in found["verdicts"]:
        assert verdict["total_seconds"] > 0, verdict
        assert verdict["downtime_ms"][0] <= verdict["downtime_ms"][1]


def test_bad_input_is_refused_with_its_fix_and_nothing_is_touched(
    lab: Lab, guest: Guest, controller: Controller
) -> None:
    before = traces(lab, THERE)
    refused = {
        ("mb-nobody", THERE): "NF-VM-006",
        (NAME, "kvm99"): "NF-MIG-301",
        (NAME, HERE): "NF-MIG-302",
    }
    for (vm, to), code in refused.items():
        told = controller.json("migrate", vm, "--to", to, "--yes", status=2)["errors"][0]
        assert (told["code"], bool(told["hints"])) == (code, True), told
    pool = controller.json("migrate", NAME, "--to", THERE, "--pool", "mb-none", "--yes", status=1)["errors"][0]
    assert pool["code"] == "NF-MIG-320"
    lab.on(HERE, "sh", "-c", BEGIN, "sh", NAME, stdin=BACKUP)
    try:
        busy = controller.json("migrate", NAME, "--to", THERE, "--yes", status=1)["errors"][0]
    finally:
        lab.on(HERE, *VIRSH, "domjobabort", NAME)
        lab.on(HERE, "rm", "-f", "/var/tmp/mb-scratch", "/var/tmp/mb-nbd.sock")
    assert (busy["code"], busy["retry"]) == ("NF-MIG-303", "later")
    assert traces(lab, THERE) == before
    assert guest.state(HERE) == "running"


def test_a_missing_network_a_hostdev_and_a_foreign_machine_are_refused(lab: Lab, controller: Controller) -> None:
    vm = Guest(lab, NAME, "64M")
    for host in (HERE, THERE):
        vm.remove(host)
    nic = Element("interface", type="network")
    SubElement(nic, "source", network="mb-none")
    hostdev = Element("hostdev", mode="subsystem", type="pci")
    SubElement(SubElement(hostdev, "source"), "address", domain="0", bus="0", slot="0", function="0")
    vm.devices = (nic, hostdev)
    vm.create(HERE)
    try:
        found = controller.json("migrate", NAME, "--to", THERE, "--plan", status=1)
    finally:
        vm.remove(HERE)
    blockers = {each["code"]: each for each in found["findings"] if each["severity"] == "blocker"}
    assert {"NF-MIG-330", "NF-MIG-340", "NF-MIG-345"} <= set(blockers)
    assert all(each["fix"] for each in blockers.values())
    assert found["ladder"] == []


@pytest.mark.thorough
def test_shared_storage_is_proven_and_a_directory_of_the_same_name_is_not(
    lab: Lab, guest: Guest, controller: Controller
) -> None:
    path = f"{SHARED}/{NAME}.vdd.raw"
    lab.on(HERE, "sh", "-c", 'truncate -s 4M "$1" && chmod 666 "$1"', "sh", path)
    try:
        lab.on(HERE, *VIRSH, "attach-disk", NAME, path, "vdd", "--live", "--config", "--subdriver", "raw")
        disks = {disk["target"]: disk for disk in controller.json("migrate", NAME, "--to", THERE, "--plan")["disks"]}
    finally:
        lab.on(HERE, *VIRSH, "detach-disk", NAME, "vdd", "--live", "--config", check=False)
        lab.on(HERE, "rm", "-f", path)
    assert disks["vdd"]["shared"]
    assert not disks["vdc"]["shared"]
    assert "novafleet-proof" not in lab.on(HERE, "ls", "-A", SHARED, POOL)


def noted(lab: Lab, host: str, word: str) -> str:
    """What the domain on a host remembers of its migration."""
    text = lab.on(host, *VIRSH, "dumpxml", NAME, check=False).partition("xmlns/migration/1")[2]
    found = re.search(rf"{word}=['\"]([0-9a-z-]+)", text)
    return found[1] if found else ""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("mode", "path", "moment"),
    [
        ("live", "relay", "preparing"),
        ("live", "relay", "switching"),
        ("live", "tunnel", "switching"),
        ("cold", "relay", "copying"),
        ("cold", "relay", "switched"),
    ],
)
def test_a_killed_controller_leaves_one_copy_or_recover_gets_there(
    lab: Lab, guest: Guest, controller: Controller, mode: str, path: str, moment: str
) -> None:
    said = guest.counts(HERE, seconds=BOOT)
    process = controller.start("migrate", NAME, "--to", THERE, "--mode", mode, "--path", path, "--yes")
    ends = (HERE, THERE)
    wait_for(
        lambda: process.poll() is not None or any(noted(lab, host, "phase") == moment for host in ends),
        240,
        f"phase {moment}",
    )
    process.kill()
    process.communicate()
    job = next(found for host in ends if (found := noted(lab, host, "job")))
    explained = controller.run("migrate", "recover", NAME, "--explain", "--lock-wait", "30")
    print(explained.stdout, explained.stderr)
    wait_for(lambda: controller.run("migrate", "recover", NAME, "--lock-wait", "30").returncode == 0, 240, "recovery")
    states = {host: guest.state(host) for host in ends}
    assert sorted(states.values()) == ["", "running"], states
    home = next(host for host in ends if states[host])
    guest.counts(home, said, seconds=BOOT)
    again = controller.json("migrate", "recover", NAME)
    assert again["jobs"] == []
    away = THERE if home == HERE else HERE
    left = traces(lab, away)
    assert NAME not in left.replace(f"{NAME}.seed.iso", ""), left
    for host in ends:
        assert job not in lab.on(host, "sh", "-c", "ls -A /run/novafleet/migrate 2>/dev/null; exit 0")
        assert job not in lab.on(host, "cat", "/root/.ssh/authorized_keys")
