"""A VM whose memory waits in libvirt's managed save: nothing puts other disks under it."""

from __future__ import annotations

import pytest

from tests.lab.backupbench import TWO, Machine, machine, shop

__all__ = ["machine", "shop"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_its_disks_are_neither_exchanged_nor_called_clean(machine: Machine) -> None:
    shop = machine.shop
    machine.create(*TWO)
    machine.start()
    shop.virsh("managedsave", machine.name)
    name = f"{shop.host}/{machine.name}"
    [row] = shop.run("backup", "run", name)["vms"]
    assert row["consistency"] == "crash"
    refused = shop.run("restore", row["snapshot"], "--in-place", "--yes", status=1)
    assert refused["error"]["code"] == "NF-BAK-036"
    assert "managed save" in refused["error"]["what"]
    shop.virsh("managedsave-remove", machine.name)
    assert shop.run("restore", row["snapshot"], "--in-place", "--yes")["disks"]
    [row] = shop.run("backup", "run", name)["vms"]
    assert row["consistency"] == "offline"
