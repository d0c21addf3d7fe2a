"""A VM that wanders from host to host between its backups: each of them is, bit by bit, what its disks were."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.lab.backupbench import TWO, Machine, modes
from tests.lab.movebench import CLEAN, POOL
from tests.lab.restorebench import new_shop
from tests.labfixture import Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200), pytest.mark.thorough]
HOSTS = ("kvm1", "kvm2", "kvm3")
NAME = "f-wanderer"
WAYS = (("kvm1", "kvm2", "live"), ("kvm2", "kvm3", "live"), ("kvm3", "kvm1", "cold"))


@pytest.fixture
async def wanderer(lab: Lab, fleet_home: Path, tmp_path: Path) -> Any:
    """A VM on the first host, with a repository."""
    made = Machine(await new_shop(lab, HOSTS[0], fleet_home, tmp_path), NAME)
    for each in everywhere(made):
        each.remove()
        each.shop.on("mkdir", "-p", each.folder)
    made.create(*TWO)
    yield made
    for each in everywhere(made):
        each.remove()
        lab.on(each.shop.host, "sh", "-c", CLEAN, "sh", POOL, NAME)


def everywhere(machine: Machine) -> Iterator[Machine]:
    """It, on every host."""
    for host in HOSTS:
        yield replace(machine, shop=replace(machine.shop, host=host))


def move(machine: Machine, there: str, mode: str) -> None:
    """Its disks may lie elsewhere afterwards."""
    shop = machine.shop
    words = ("migrate", f"{shop.host}/{NAME}", "--to", there, "--mode", mode, "--path", "relay", "--yes")
    argv = [shop.command()[0], "-i", str(shop.lab.inventory), *words]
    done = subprocess.run(
        argv, env=fleet_environment(shop.home), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    machine.shop = replace(shop, host=there)
    definition = ElementTree.fromstring(machine.shop.virsh("dumpxml", NAME))
    for disk in definition.findall("devices/disk[@device='disk']"):
        target, source = disk.find("target"), disk.find("source")
        assert target is not None
        assert source is not None
        machine.disks[target.get("dev", "")] = source.get("file", "")


async def test_every_backup_on_its_way_is_what_its_disks_were(wanderer: Machine) -> None:
    wanderer.shop.virsh("start", NAME)
    wanderer.write("vda", "write -P 0x11 0 9M", "write -P 0x22 20M 300k")
    wanderer.write("vdb", "write -P 0x33 1M 2M")
    assert set(modes(wanderer.back_up()).values()) == {"full"}
    told = {}
    for number, (here, there, mode) in enumerate(WAYS):
        wanderer.write("vda", f"write -P {64 + number} {number + 2}M 1M", f"write -z {number}M 64k")
        if mode == "cold":
            wanderer.shop.virsh("destroy", NAME)
        move(wanderer, there, mode)
        if mode == "cold":
            wanderer.shop.virsh("start", NAME)
        wanderer.write("vdb", f"write -P {96 + number} {number + 4}M 1M", f"discard {number + 1}M 64k")
        row = wanderer.back_up()
        told[f"{here} {mode} {there}"] = [(disk["mode"], disk["why"]) for disk in row["disks"]]
        assert all(disk["mode"] == "incremental" or "bitmap" in disk["why"] for disk in row["disks"]), told
        wanderer.write("vda", f"write -P {128 + number} 40M 1M")
        assert set(modes(wanderer.back_up()).values()) == {"incremental"}, "where it is now it goes on as ever"
    print(*told.items(), sep="\n")
    assert {mode for mode, _ in told["kvm1 live kvm2"]} == {"incremental"}, "libvirt carries bitmaps along"
    wanderer.verify()
    assert len(wanderer.checkpoints()) == 1
    assert wanderer.left_over() == ""
