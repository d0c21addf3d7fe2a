"""Restores to real hosts: the disks are identical, the guest boots, and nothing half-made stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.backupbench import Shop
from tests.lab.restorebench import (
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


@pytest.fixture(params=PAIRS, ids="-to-".join)
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
    guest.boot()
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
