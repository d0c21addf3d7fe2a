"""A host with ten VMs is emptied: who cannot leave is said first; a killed drain goes on; undrain brings them home."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
import yaml

from tests.lab.movebench import POOL, VIRSH, Traveller
from tests.labfixture import ROOT, Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.disturbs, pytest.mark.timeout(1800)]
SOURCE = "kvm2"
OTHERS = ("kvm1", "kvm3")
NAME = "nf-drain"
NETWORK = f"{NAME}-only"
SMALL = """<domain type="qemu"><name>{name}</name><memory unit="MiB">64</memory><os><type arch="x86_64"
machine="pc-i440fx-7.2">hvm</type></os><devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
<source file="{pool}/{name}.vda.qcow2"/><target dev="vda" bus="virtio"/></disk>{nic}</devices></domain>"""
NIC = f"<interface type='network'><source network='{NETWORK}'/></interface>"
MAKE = 'qemu-img create -q -f qcow2 "$1/$2.vda.qcow2" 16M && qemu-io -f qcow2 -c "write -P 7 1M 2M" "$1/$2.vda.qcow2"'
SAME = 'qemu-io -f qcow2 -c "read -P 7 1M 2M" "$1/$2.vda.qcow2"'
REMOVE = """\
for domain in $(virsh -q list --all --name | grep "^$2-"); do
  virsh -q destroy "$domain"; virsh -q undefine "$domain" --checkpoints-metadata --snapshots-metadata
done
virsh -q net-destroy "$2-only"; virsh -q net-undefine "$2-only"
for each in /var/lib/novafleet/migrate/* /var/lib/novafleet/quarantine/*; do
  grep -qsF "$2-" "$each/manifest" "$each/record.json" || continue
  rm -rf "$each" "$1/.nf-migrate-${each##*/}-"* "$1/.novafleet-quarantine/${each##*/}"
done
rm -rf "$1/$2"-* /var/lib/novafleet/maintenance
exit 0
"""
POLICIES = {
    "parallel": {"host": 2, "link": 1},
    "classes": {
        "first": {"vms": [f"{NAME}-live-1"], "priority": 10},
        "ours": {"vms": [f"{NAME}-*"]},
        "others": {"vms": ["*"], "stay": True},
    },
}


class Running(Traveller):
    """Of a machine type that every QEMU here has."""

    def _xml(self) -> Element:
        root = super()._xml()
        machine = root.find("os/type")
        assert machine is not None
        machine.set("machine", "pc-i440fx-7.2")
        return root


@dataclass(frozen=True, slots=True)
class Fleet:
    """The guests of this test, and NovaFleet's command line beside them."""

    lab: Lab
    home: Path
    inventory: Path
    running: Sequence[Running]
    small: Sequence[str]
    bound: str

    @property
    def movable(self) -> set[str]:
        return {*self.small, *(each.name for each in self.running)}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "novafleet", "-i", str(self.inventory), *words]

    def run(self, *words: str, status: int = 0) -> Any:
        done = subprocess.run(
            self.argv(*words, "-o", "json"),
            cwd=ROOT,
            env=fleet_environment(self.home),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout)

    def kill_at(self, mark: str, *words: str) -> None:
        """Start a command, and kill it with -9 when it has said ``mark``."""
        with subprocess.Popen(
            self.argv(*words), cwd=ROOT, env=fleet_environment(self.home), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            said = next((line for line in process.stderr if mark in line), "")
            process.kill()
        assert said

    def places(self) -> dict[str, list[str]]:
        """By guest of ours, the hosts that define it."""
        found: dict[str, list[str]] = {}
        for host in (SOURCE, *OTHERS):
            for name in self.lab.on(host, *VIRSH, "list", "--all", "--name").split():
                if name.startswith(f"{NAME}-"):
                    found.setdefault(name, []).append(host)
        return found


def _make_small(lab: Lab, name: str, nic: str = "") -> None:
    lab.on(SOURCE, "sh", "-c", MAKE, "sh", POOL, name)
    lab.on(SOURCE, *VIRSH, "define", "/dev/stdin", stdin=SMALL.format(name=name, pool=POOL, nic=nic))


def _remove(lab: Lab) -> None:
    for host in (SOURCE, *OTHERS):
        lab.on(host, "sh", "-c", REMOVE, "sh", POOL, NAME)


@pytest.fixture
def fleet(lab: Lab, fleet_home: Path, tmp_path: Path) -> Iterator[Fleet]:
    _remove(lab)
    inventory = yaml.safe_load(lab.inventory.read_text())
    inventory["vars"] = {"novafleet_policies": POLICIES}
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory, sort_keys=False))
    running = [Running(lab, f"{NAME}-live-{n}", "48M") for n in (1, 2)]
    small = [f"{NAME}-off-{n}" for n in range(7)]
    bound = f"{NAME}-bound"
    network = f"<network><name>{NETWORK}</name><bridge name='nfdrain0'/></network>"
    try:
        lab.on(SOURCE, *VIRSH, "net-define", "/dev/stdin", stdin=network)
        lab.on(SOURCE, *VIRSH, "net-start", NETWORK)
        for guest in running:
            guest.create(SOURCE)
            lab.on(SOURCE, *VIRSH, "start", guest.name)
        for guest in running:
            guest.counts(SOURCE, seconds=600.0)
        for name in small:
            _make_small(lab, name)
        _make_small(lab, bound, NIC)
        yield Fleet(lab, fleet_home, path, running, small, bound)
    finally:
        _remove(lab)


@pytest.mark.thorough
def test_ten_vms_leave_their_host_but_one_killed_and_resumed(fleet: Fleet) -> None:
    plan = fleet.run("host", "drain", SOURCE, "--plan", status=3)
    ours = {each["guest"]: each for each in plan["unmovable"] if NAME in each["guest"]}
    assert {name: each["code"] for name, each in ours.items()} == {f"{SOURCE}/{fleet.bound}": "NF-PLACE-011"}
    assert NETWORK in ours[f"{SOURCE}/{fleet.bound}"]["why"]
    moves = [move["guest"] for move in plan["moves"]]
    assert set(moves) == {f"{SOURCE}/{name}" for name in fleet.movable}
    assert moves[0] == f"{SOURCE}/{NAME}-live-1", "the highest priority first"
    assert fleet.places() == {name: [SOURCE] for name in (*fleet.movable, fleet.bound)}, "nothing was touched"

    before = [guest.said(SOURCE) for guest in fleet.running]
    fleet.kill_at("/commit", "host", "drain", SOURCE, "--yes")
    [job] = fleet.run("job", "ls")["jobs"]
    assert (job["verb"], job["state"], job["moved"] >= 1) == ("host drain", "killed", True)
    assert len([name for name, hosts in fleet.places().items() if SOURCE in hosts]) > 1, "it was in the middle"

    result = fleet.run("resume", "--yes", status=3)
    assert result["run"] == job["id"]
    assert {row["state"] for row in result["vms"]} <= {"done"}
    places = fleet.places()
    assert places.pop(fleet.bound) == [SOURCE]
    assert places.keys() == fleet.movable
    assert all(len(hosts) == 1 and hosts[0] in OTHERS for hosts in places.values()), places
    for guest, number in zip(fleet.running, before, strict=True):
        guest.counts(places[guest.name][0], number, 600.0)
    for name in fleet.small:
        assert fleet.lab.answers(places[name][0], "sh", "-c", SAME, "sh", POOL, name)

    again = fleet.run("host", "drain", SOURCE, "--yes", status=3)
    assert (again["moves"], again["vms"]) == ([], [])
    refused = fleet.run("migrate", f"{places[fleet.small[0]][0]}/{fleet.small[0]}", "--to", SOURCE, "--yes", status=1)
    assert refused["errors"][0]["code"] == "NF-MIG-620"

    home = fleet.run("host", "undrain", SOURCE, "--yes")
    assert {row["state"] for row in home["vms"]} == {"done"}
    assert fleet.places() == {name: [SOURCE] for name in (*fleet.movable, fleet.bound)}
    for guest in fleet.running:
        guest.counts(SOURCE, before[0], 600.0)
    assert not fleet.lab.answers(SOURCE, "test", "-e", "/var/lib/novafleet/maintenance")


def test_what_if_rests_on_what_was_seen(fleet: Fleet) -> None:
    unknown = fleet.run("whatif", "host-down", SOURCE, status=2)
    assert unknown["errors"][0]["code"] == "NF-PLACE-001"
    asked = fleet.run("whatif", "host-down", SOURCE, "--refresh")
    assert {f"{SOURCE}/{each.name}" for each in fleet.running} <= {move["guest"] for move in asked["moves"]}
    remembered = fleet.run("whatif", "drain", SOURCE)
    assert remembered["taken_at"] == asked["taken_at"]
    bound = {each["guest"]: each["code"] for each in remembered["homeless"]}
    assert bound[f"{SOURCE}/{fleet.bound}"] == "NF-PLACE-011"
    larger = fleet.run("whatif", "add", "kvm9", "--like", SOURCE)
    assert larger["memory_after"]["all"] > larger["memory_before"]["all"]


def test_maintenance_is_seen_by_everybody(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.run("host", "maintenance", "on", SOURCE, "--reason", "new disks")["on"]
    assert "new disks" in fleet.lab.on(SOURCE, "cat", "/var/lib/novafleet/maintenance")
    plan = fleet.run("host", "drain", "kvm3", "--plan")
    assert all(move["destination"] != SOURCE for move in plan["moves"])
    assert not fleet.run("host", "maintenance", "off", SOURCE)["on"]
    assert not fleet.lab.answers(SOURCE, "test", "-e", "/var/lib/novafleet/maintenance")
