"""One VM's life on real hosts: libvirt 9.0 and 11.3 rewrite what they are given, and no second plan may see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from novafleet.capability.image.plan import plan_up as images_up
from novafleet.capability.network.plan import plan_down as networks_down
from novafleet.capability.network.plan import plan_up as networks_up
from novafleet.capability.vm.drift import drift
from novafleet.capability.vm.plan import plan_down as vms_down
from novafleet.capability.vm.plan import plan_up as vms_up
from novafleet.capability.volume.plan import plan_down as volumes_down
from novafleet.capability.volume.plan import plan_up as volumes_up
from novafleet.model.environment import (
    Artifact,
    CloudInit,
    Disk,
    Environment,
    Gate,
    GateKind,
    Image,
    Network,
    NetworkMode,
    Vm,
)
from novafleet.model.plan import PlanOptions
from tests.lab.slices import Bench, bench
from tests.labfixture import Lab
from tests.unit.vm import cases
from tests.unit.vm.world import changed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
MIB = cases.MIB
UP = (images_up, networks_up, volumes_up, vms_up)
DOWN = (vms_down, volumes_down, networks_down)
ALL = PlanOptions(volumes=True, allow_data_loss=True, destroy_protected=True)
HOSTS = ("kvm1", pytest.param("kvm2", marks=pytest.mark.thorough))
LIST = "virsh list --all --name; ls -A /var/lib/libvirt/images | grep ^vmtest || true"


def _images(lab: Lab) -> dict[str, Image]:
    """The lab's kernel and initrd, and its bootable disk."""
    known = yaml.safe_load(Path(lab.images).read_text())["images"]
    mini, disk = known["mini"], known["mini-disk"]
    kernel, initrd = Artifact(**mini["kernel"]), Artifact(**mini["initrd"])
    return {
        "mini": Image("mini", kernel=kernel, initrd=initrd, cmdline=mini["cmdline"]),
        "disk": Image("disk", disk=Artifact(url=disk["url"], sha256=disk["sha256"]), format=disk["format"]),
    }


def _environment(lab: Lab, host: str, *vms: Vm) -> Environment:
    net = Network(
        "lab",
        "vmtest-lab",
        NetworkMode.NAT,
        cidr="10.251.9.0/24",
        gateway="10.251.9.1",
        dhcp=True,
        hosts=(host,),
        source=cases.line(3),
    )
    return cases.environment(*vms, images=_images(lab), networks={"lab": net})


def _vm(host: str, *disks: Disk, **fields: Any) -> Vm:
    login = Gate(GateKind.SERIAL, {"pattern": "mini: init"}, timeout=200)
    return cases.vm(disks=disks, host=host, memory=160 * MIB, boot="mini", ready=(login,), stop_timeout=10.0, **fields)


async def _settled(lab: Bench, environment: Environment) -> None:
    facts = await lab.observe()
    left = [change for planner in UP for change in planner(environment, facts, PlanOptions())]
    assert changed(left) == {}
    assert drift(environment, facts) == {}


async def _live(lab: Bench, path: str) -> str:
    return await lab.sh('virsh dumpxml vmtest-db | grep -o -- "$1" | sort | uniq', path)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_life(lab: Lab, host: str) -> None:
    async with bench(host) as at:
        empty = _environment(lab, host)
        await at.apply(empty, *DOWN, options=ALL)
        try:
            await _live_through(at, lab, host)
        finally:
            await at.apply(empty, *DOWN, options=ALL)
        assert "vmtest" not in await at.sh(LIST)


async def _live_through(at: Bench, lab: Lab, host: str) -> None:
    root = cases.disk("root", image="disk", size=0)
    first = _vm(host, root, nics=(cases.nic(),), cloud_init=CloudInit({"runcmd": ["true"]}))
    await at.apply(_environment(lab, host, first), *UP)
    await _settled(at, _environment(lab, host, first))

    grown = replace(
        first,
        disks={"root": replace(root, size=512 * MIB), "data": cases.disk("data", size=32 * MIB, protect=True)},
        nics={"lan": cases.nic(), "wan": cases.nic("wan")},
        autostart=True,
    )
    _, changes = await at.apply(_environment(lab, host, grown), *UP)
    assert changed(changes)["vm.db"] == "~ live"
    assert await _live(at, "ua-[a-z]*-[a-z]*") == "ua-disk-data\nua-disk-root\nua-nic-lan\nua-nic-wan"
    assert str(512 * MIB) in await at.sh("virsh domblkinfo vmtest-db vda")
    await _settled(at, _environment(lab, host, grown))

    slim = replace(grown, disks={"root": replace(root, size=512 * MIB)}, nics={"lan": cases.nic()})
    outcomes, _ = await at.apply(_environment(lab, host, slim), *UP)
    assert outcomes["vm.db/change"] == {"plugged": ["detach disk data", "detach NIC wan"], "held": []}
    assert await _live(at, "ua-[a-z]*-[a-z]*") == "ua-disk-root\nua-nic-lan"
    await _settled(at, _environment(lab, host, slim))

    bigger = replace(slim, memory=192 * MIB, vcpus=2, firmware="uefi")
    _, changes = await at.apply(_environment(lab, host, bigger), *UP)
    assert changed(changes)["vm.db"] == "-/+ recreate"
    await _settled(at, _environment(lab, host, bigger))
    await _down(at, _environment(lab, host, bigger))


async def _down(at: Bench, environment: Environment) -> None:
    """Protected data survives, until it is named."""
    await at.apply(environment, *DOWN, options=PlanOptions(volumes=True))
    assert "vmtest.db.data.qcow2\nvmtest.db.data.qcow2.protected" in await at.sh(LIST)
    assert "vmtest.db.root" not in await at.sh(LIST)
    await at.apply(environment, *DOWN, options=ALL)


async def test_changed_by_hand(lab: Lab) -> None:
    async with bench("kvm2") as at:
        plain = cases.vm(host="kvm2", disks=(cases.disk("root", size=16 * MIB),), stop_timeout=0.1)
        wanted = _environment(lab, "kvm2", plain)
        try:
            await at.apply(wanted, *UP)
            await at.sh(
                "virsh setvcpus vmtest-db 3 --config --maximum; virsh destroy vmtest-db; virsh autostart vmtest-db"
            )
            found = drift(wanted, await at.observe())["vm.db"]
            assert {(each.field, each.live, each.kind) for each in found} == {
                ("autostart", "yes", "changed-on-host"),
                ("state", "shutoff", "changed-on-host"),
                ("vcpus", "3", "changed-on-host"),
            }
            await at.apply(wanted, *UP)
            await _settled(at, wanted)
        finally:
            await at.apply(wanted, *DOWN, options=ALL)
