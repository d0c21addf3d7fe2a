"""Backups of VMs whose snapshots lie inside their images: whatever was gone back to, each is right, bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backupbench import TWO, Machine, machine, modes, shop
from tests.labfixture import fleet_environment

__all__ = ["machine", "shop"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.thorough]


def snapshot(vm: Machine, verb: str, *words: str) -> Any:
    """The first VM of what a verb of ``snapshot`` prints."""
    program = str(Path(sys.executable).parent / "novafleet")
    label = f"{vm.shop.host}/{vm.name}"
    command = (program, "-i", str(vm.shop.lab.inventory), "snapshot", verb, label, *words, "-o", "json")
    home = fleet_environment(vm.shop.home)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=home, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)["vms"][0]


def kind(vm: Machine, name: str) -> tuple[str, str]:
    """Of a snapshot, and why it is so."""
    [row] = snapshot(vm, "show", name)["snapshots"]
    return row["kind"], row["choice"]


def why(row: Any) -> str:
    return " ".join(disk["why"] for disk in row["disks"])


def test_going_back_inside_images_is_never_taken_for_nothing_changed(machine: Machine) -> None:
    machine.create(*TWO)
    snapshot(machine, "create", "--name", "empty")
    assert kind(machine, "empty")[0] == "internal"
    machine.start()
    machine.write("vda", "write -P 0x11 0 9M", "write -P 0x22 20M 300k")
    machine.write("vdb", "write -P 0x33 1M 2M")
    machine.back_up()
    machine.write("vda", "write -P 0x44 12M 1M")
    assert modes(machine.back_up()) == {"vda": "incremental", "vdb": "incremental"}

    snapshot(machine, "create", "--name", "live", "--kind", "internal", "--mode", "live", "--require", "live")
    machine.write("vda", "write -P 0x55 40M 1M", "write -z 0 1M")
    assert modes(machine.back_up()) == {"vda": "incremental", "vdb": "incremental"}, "taking one changes nothing"
    snapshot(machine, "revert", "live", "--yes", "--no-safety")
    row = machine.back_up()
    assert modes(row) == {"vda": "hash-incremental", "vdb": "hash-incremental"}
    assert "libvirt does not know checkpoint" in why(row)
    machine.write("vdb", "write -P 0x66 5M 1M")
    assert modes(machine.back_up()) == {"vda": "incremental", "vdb": "incremental"}

    snapshot(machine, "revert", "empty", "--yes", "--no-safety", "--no-start")
    assert machine.checkpoints() == []
    row = machine.back_up()
    assert modes(row) == {"vda": "offline", "vdb": "offline"}
    assert "has no bitmap" in why(row)
    machine.start()
    machine.write("vda", "write -P 0x77 2M 1M")
    assert modes(machine.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    snapshot(machine, "rm", "--all", "--yes")
    assert modes(machine.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    machine.verify()


def test_a_vm_that_is_off_and_backed_up(machine: Machine) -> None:
    """libvirt 9.0 makes no internal snapshot of it; 11 does, and the next backup reads only what changed."""
    machine.create(*TWO)
    machine.start()
    machine.write("vda", "write -P 0x11 0 9M")
    machine.back_up()
    machine.write("vda", "write -P 0x22 20M 1M")
    machine.shop.virsh("destroy", machine.name)
    snapshot(machine, "create", "--name", "a")
    told, because = kind(machine, "a")
    if machine.shop.host == "kvm1":
        assert (told, "checkpoint" in because) == ("external", True), because
        snapshot(machine, "rm", "--all", "--yes")
    else:
        assert (told, "the VM is off" in because) == ("internal", True), because
    row = machine.back_up()
    assert modes(row) == {"vda": "offline", "vdb": "offline"}
    assert sum(disk["bytes_read"] for disk in row["disks"]) == 1 << 20
    machine.verify()
    snapshot(machine, "rm", "--all", "--yes")
