"""``up --snapshot-before`` on a real host: what the VM had before the change can be gone back to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labfixture import Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.thorough]
FILE = """
environment: snbef
include: [%s]
vms:
  db:
    host: %s
    memory: %s
    boot: mini
    disks: {data: {size: 64MiB}}
"""


class Fleet:
    """An environment of one VM, changed by its file."""

    def __init__(self, lab: Lab, host: str, home: Path, folder: Path) -> None:
        self.lab, self.host, self.home = lab, host, home
        self.file = folder / "env.yml"

    def wants(self, memory: str) -> None:
        self.file.write_text(FILE % (self.lab.images, self.host, memory))

    def run(self, *words: str) -> Any:
        program = str(Path(sys.executable).parent / "novafleet")
        command = (program, "-i", str(self.lab.inventory), *words, "-o", "json")
        home = fleet_environment(self.home)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=home, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def disk(self, command: str) -> str:
        """qemu-io through the running guest's device."""
        line = f'qemu-io -d /machine/peripheral/ua-disk-data/virtio-backend "{command}"'
        return self.lab.on(self.host, "virsh", "qemu-monitor-command", "snbef-db", "--hmp", line)

    def holds(self, pattern: str) -> bool:
        """Is the second MiB of the disk that?"""
        text = """path=$(virsh -q domblklist "$1" | sed -n 's/^ *vda *//p')
        qemu-io -r -U -f qcow2 -c "read -P $2 1M 1M" "$path" 2>&1"""
        told = self.lab.on(self.host, "sh", "-c", text, "sh", "snbef-db", pattern, check=False)
        assert "read 1048576/1048576" in told, told
        return "verification failed" not in told

    def snapshots(self) -> list[Any]:
        [vm] = self.run("snapshot", "ls", "--environment", "snbef")["vms"]
        return list(vm["snapshots"])


@pytest.fixture(params=["kvm1", "kvm2"])
def fleet(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(lab, request.param, fleet_home, tmp_path)
    made.wants("128MiB")
    made.run("up", str(made.file), "--yes")
    yield made
    made.run("down", str(made.file), "--yes", "--volumes")


def test_a_change_that_restarts_a_vm_can_be_taken_back(fleet: Fleet) -> None:
    fleet.disk("write -P 0x5a 1M 1M")
    fleet.disk("flush")
    fleet.wants("160MiB")
    [change] = fleet.run("plan", str(fleet.file), "--snapshot-before")["changes"]
    assert change["steps"][0] == "vm.db/snapshot"
    assert "a snapshot is taken first" in change["reasons"][-1]["text"]
    assert fleet.snapshots() == [], "a plan changes nothing"
    done = fleet.run("up", str(fleet.file), "--yes", "--snapshot-before")
    assert done["changed"] == 1
    [taken] = fleet.snapshots()
    assert (taken["name"], taken["tags"]) == (f"before-up-{done['run']}", ["update"])
    assert 6 * 86400 < taken["expires"] - taken["made"] < 8 * 86400
    assert fleet.run("up", str(fleet.file), "--yes", "--snapshot-before")["changed"] == 0

    assert fleet.holds("0x5a")
    fleet.disk("write -P 0xff 1M 1M")
    fleet.disk("flush")
    assert fleet.holds("0xff")
    fleet.run("snapshot", "revert", "--environment", "snbef", taken["name"], "--yes", "--no-safety")
    assert fleet.holds("0x5a")
    fleet.wants("128MiB")
    assert fleet.run("plan", str(fleet.file))["changes"] == [], "the definition of then, too"
    fleet.run("snapshot", "rm", "--environment", "snbef", "--all", "--yes")
    assert fleet.holds("0x5a")
