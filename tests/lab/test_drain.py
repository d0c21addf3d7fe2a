"""A host with ten VMs is emptied: who cannot leave is said first; a killed drain goes on; undrain brings them home."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.movebench import POOL, VIRSH
from tests.labfixture import ROOT, Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.disturbs, pytest.mark.timeout(1200)]
SOURCE = "kvm2"
OTHERS = ("kvm1", "kvm3")
NAME = "nf-drain"
NETWORK = f"{NAME}-only"
MIB = 1 << 20
DATA, BIG = 2, 48
"""MiB of random data on a disk; one VM has more."""
BUDGET = 8
"""MiB a second that a link may carry, by the policies."""
DOMAIN = """<domain type="qemu"><name>{name}</name><memory unit="MiB">32</memory><os><type arch="x86_64"
machine="pc-i440fx-7.2">hvm</type></os><devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
<source file="{pool}/{name}.vda.qcow2"/><target dev="vda" bus="virtio"/></disk>{nic}</devices></domain>"""
NIC = f"<interface type='network'><source network='{NETWORK}'/></interface>"
MAKE = r"""
raw=$1/$2.raw
{ printf '\372\364\353\375' && head -c 506 /dev/zero && printf '\125\252' && head -c 1048064 /dev/zero; } >"$raw"
head -c "$3" /dev/urandom >>"$raw" && truncate -s 64M "$raw"
qemu-img convert -O qcow2 "$raw" "$1/$2.vda.qcow2" && rm "$raw"
"""
"""A boot sector of `cli; hlt; jmp` back to the halt: a guest that runs, and takes no processor time from the others."""
DIGEST = 'qemu-img convert -U -O raw "$1/$2.vda.qcow2" "$1/$2.sum" && sha256sum <"$1/$2.sum" && rm "$1/$2.sum"'
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
    "bandwidth": f"{BUDGET}MiB",
    "classes": {
        "first": {"vms": [f"{NAME}-live-1"], "priority": 10},
        "ours": {"vms": [f"{NAME}-*"]},
        "others": {"vms": ["*"], "stay": True},
    },
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The guests of this test, and NovaFleet's command line beside them."""

    lab: Lab
    home: Path
    inventory: Path
    running: Sequence[str]
    off: Sequence[str]
    bound: str

    @property
    def movable(self) -> set[str]:
        return {*self.running, *self.off}

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

    def leave(self, *options: str) -> Sequence[Mapping[str, Any]]:
        """All running VMs at once to a host that is logged in to as a user; what is told of each."""
        where = ("migrate", f"{SOURCE}/{NAME}-live-*", "--to", "kvm3", "--at-once", str(len(self.running)))
        rows: Sequence[Mapping[str, Any]] = self.run(*where, *options, "--yes")["vms"]
        assert {row["vm"] for row in rows} == {*self.running}
        return rows

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

    def seen(self, name: str, host: str) -> tuple[str, str, str]:
        """State, UUID and what is on the disk."""
        state = self.lab.on(host, *VIRSH, "domstate", name).strip()
        uuid = self.lab.on(host, *VIRSH, "domuuid", name).strip()
        return state, uuid, self.lab.on(host, "sh", "-c", DIGEST, "sh", POOL, name)

    def all_seen(self, places: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str, str]]:
        """Of each where it is."""
        return {name: self.seen(name, places[name][0]) for name in sorted(self.movable)}

    def seconds(self, run: str, name: str) -> float:
        """How long its copy took in a run."""
        steps = self.run("runs", "show", run)["steps"]
        [step] = [step for step in steps if step["node"] == f"{SOURCE}/{name}/copy"]
        return float(step["seconds"])


def _make(lab: Lab, name: str, *, size: int = DATA, nic: str = "") -> None:
    lab.on(SOURCE, "sh", "-c", MAKE, "sh", POOL, name, str(size * MIB))
    lab.on(SOURCE, *VIRSH, "define", "/dev/stdin", stdin=DOMAIN.format(name=name, pool=POOL, nic=nic))


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
    running, off = ([f"{NAME}-{kind}-{n}" for n in range(count)] for kind, count in (("live", 4), ("off", 5)))
    bound = f"{NAME}-bound"
    network = f"<network><name>{NETWORK}</name><bridge name='nfdrain0'/></network>"
    try:
        lab.on(SOURCE, *VIRSH, "net-define", "/dev/stdin", stdin=network)
        lab.on(SOURCE, *VIRSH, "net-start", NETWORK)
        for name in (*running, *off):
            _make(lab, name, size=BIG if name == running[1] else DATA)
        for name in running:
            lab.on(SOURCE, *VIRSH, "start", name)
        _make(lab, bound, nic=NIC)
        yield Fleet(lab, fleet_home, path, running, off, bound)
    finally:
        _remove(lab)


@pytest.mark.thorough
def test_ten_vms_leave_their_host_but_one_killed_and_resumed(fleet: Fleet) -> None:
    home = {name: [SOURCE] for name in (*fleet.movable, fleet.bound)}
    before = fleet.all_seen(home)
    plan = fleet.run("host", "drain", SOURCE, "--plan", status=3)
    ours = {each["guest"]: each for each in plan["unmovable"] if NAME in each["guest"]}
    assert {name: each["code"] for name, each in ours.items()} == {f"{SOURCE}/{fleet.bound}": "NF-PLACE-011"}
    assert NETWORK in ours[f"{SOURCE}/{fleet.bound}"]["why"]
    moves = [move["guest"] for move in plan["moves"]]
    assert set(moves) == {f"{SOURCE}/{name}" for name in fleet.movable}
    assert moves[0] == f"{SOURCE}/{fleet.running[1]}", "the highest priority first"
    assert fleet.places() == home, "nothing was touched"

    fleet.kill_at("/commit", "host", "drain", SOURCE, "--yes")
    [job] = fleet.run("job", "ls")["jobs"]
    assert (job["verb"], job["state"]) == ("host drain", "killed")
    assert len([name for name, hosts in fleet.places().items() if SOURCE in hosts]) > 1, "it was in the middle"

    result = fleet.run("resume", "--yes", status=3)
    assert result["run"] == job["id"]
    assert {row["state"] for row in result["vms"]} <= {"done"}
    lived = {row["guest"].partition("/")[2]: row["outcome"]["mode"] for row in result["vms"]}
    assert {lived[name] for name in fleet.running if name in lived} <= {"live"}
    places = fleet.places()
    assert places.pop(fleet.bound) == [SOURCE]
    assert places.keys() == fleet.movable
    assert all(len(hosts) == 1 and hosts[0] in OTHERS for hosts in places.values()), places
    assert fleet.all_seen(places) == before

    again = fleet.run("host", "drain", SOURCE, "--yes", status=3)
    assert (again["moves"], again["vms"]) == ([], [])
    off = fleet.off[0]
    refused = fleet.run("migrate", f"{places[off][0]}/{off}", "--to", SOURCE, "--yes", status=1)
    assert refused["errors"][0]["code"] == "NF-MIG-620"

    back = fleet.run("host", "undrain", SOURCE, "--yes")
    assert {row["state"] for row in back["vms"]} == {"done"}
    assert fleet.places() == home
    assert fleet.all_seen(home) == before
    assert not fleet.lab.answers(SOURCE, "test", "-e", "/var/lib/novafleet/maintenance")


@pytest.mark.thorough
def test_a_drain_keeps_to_the_bandwidth_of_its_links(fleet: Fleet) -> None:
    """Two VMs that leave by one link share it, one after the other; each copy takes at least as long as that allows."""
    for name in (*fleet.running[2:], *fleet.off[1:]):
        fleet.lab.on(SOURCE, *VIRSH, "destroy", name, check=False)
        fleet.lab.on(SOURCE, *VIRSH, "undefine", name)
    drained = fleet.run("host", "drain", SOURCE, "--to", "kvm3", "--yes", status=3)
    assert {row["state"] for row in drained["vms"]} == {"done"}
    assert {row["destination"] for row in drained["vms"]} == {"kvm3"}
    assert fleet.seconds(drained["run"], fleet.running[1]) > 0.9 * BIG / BUDGET


def test_vms_that_leave_at_once_keep_to_their_tunnels(fleet: Fleet) -> None:
    """Each job changes the destination's authorized_keys, and sshd has patience for few that do not log in."""
    rows = fleet.leave("--path", "auto")
    assert {row["path"] for row in rows} == {"tunnel"}, rows
    assert all(row["tried"] == [] for row in rows)
    assert "novafleet-migrate-" not in fleet.lab.on("kvm3", "cat", "/root/.ssh/authorized_keys")


def test_vms_that_leave_at_once_by_relay_leave_sessions_for_each_other(fleet: Fleet) -> None:
    """kvm3 works with sudo; the connections asked for would be more than sshd has sessions."""
    rows = fleet.leave("--path", "relay", "--mode", "live", "--parallel", "4")
    assert {row["path"] for row in rows} == {"relay"}


def test_vms_of_no_environment_are_snapshotted_together(fleet: Fleet) -> None:
    """Ten on one host: not each of their leases can have a session of its own."""
    made = fleet.run("snapshot", "create", f"{SOURCE}/{NAME}-*", "--name", "all")
    assert {row["vm"] for row in made["vms"]} == {*fleet.movable, fleet.bound}, made


def test_what_if_rests_on_what_was_seen(fleet: Fleet) -> None:
    unknown = fleet.run("whatif", "host-down", SOURCE, status=2)
    assert unknown["errors"][0]["code"] == "NF-PLACE-001"
    asked = fleet.run("whatif", "host-down", SOURCE, "--refresh")
    assert {f"{SOURCE}/{name}" for name in fleet.running} <= {move["guest"] for move in asked["moves"]}
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
