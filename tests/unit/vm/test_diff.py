"""Each edit of a VM: what it costs and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.vm import shape
from novafleet.capability.vm.diff import Difference, differences, reasons, worst
from novafleet.capability.vm.hotplug import Verb, plugs
from novafleet.capability.vm.xml import domain_xml
from novafleet.model.environment import CloudInit, Vm
from novafleet.model.facts import Domain
from novafleet.model.plan import Impact
from tests.unit.vm.cases import MIB, NETWORKS, disk, environment, host, line, nic, vm

SEED = CloudInit({"runcmd": ["true"]}, source=line(40))
BASE = vm(disks=(disk("root"), disk("data")), nics=(nic(),), cloud_init=SEED)

EDITS = {
    "nothing": (BASE, None, []),
    "memory": (replace(BASE, memory=512 * MIB), Impact.REBOOT, ["memory: 256MiB -> 512MiB"]),
    "vcpus": (replace(BASE, vcpus=2), Impact.REBOOT, ["vcpus: 1 -> 2"]),
    "cpu": (replace(BASE, cpu="maximum"), Impact.REBOOT, ["cpu: qemu64 -> maximum"]),
    "machine": (replace(BASE, machine="pc"), Impact.REBOOT, ["machine: pc-q35-10.0 -> pc"]),
    "firmware": (replace(BASE, firmware="uefi"), Impact.RECREATE, ["firmware: bios -> uefi"]),
    "tpm": (replace(BASE, tpm=True), Impact.REBOOT, ["tpm: no -> yes"]),
    "autostart": (replace(BASE, autostart=True), Impact.LIVE, ["autostart: no -> yes"]),
    "disk gone": (
        vm(disks=(disk("root"),), nics=(nic(),), cloud_init=SEED),
        Impact.LIVE,
        ["disk data is no longer in the file"],
    ),
    "disk added": (
        vm(disks=(disk("root"), disk("data"), disk("log")), nics=(nic(),), cloud_init=SEED),
        Impact.LIVE,
        ["disk log is added"],
    ),
    "boot disk": (
        vm(disks=(disk("data"), disk("root")), nics=(nic(),), cloud_init=SEED),
        Impact.LIVE,
        ["boot_disk: root -> data"],
    ),
    "SATA disk added": (
        vm(disks=(disk("root"), disk("data"), disk("log", bus="sata")), nics=(nic(),), cloud_init=SEED),
        Impact.REBOOT,
        ["disk log is added"],
    ),
    "bus": (
        vm(disks=(disk("root"), disk("data", bus="sata")), nics=(nic(),), cloud_init=SEED),
        Impact.REBOOT,
        ["disks.data.bus: virtio -> sata"],
    ),
    "NIC added": (replace(BASE, nics={"lan": nic(), "wan": nic("wan")}), Impact.LIVE, ["NIC wan is added"]),
    "network": (
        replace(BASE, nics={"lan": nic(network="office")}),
        Impact.LIVE,
        ["nics.lan.network: vmtest-lab -> bridge:br0"],
    ),
    "VLAN": (
        replace(BASE, nics={"lan": nic(network="tagged")}),
        Impact.REBOOT,
        ["nics.lan.network: vmtest-lab -> bridge:br0", "nics.lan.vlan: (none) -> 120"],
    ),
    "NIC model": (replace(BASE, nics={"lan": nic(model="e1000")}), Impact.REBOOT, ["nics.lan.model: virtio -> e1000"]),
    "kernel": (
        replace(BASE, boot="mini"),
        Impact.REBOOT,
        ["cmdline: (none) -> console=ttyS0", "initrd: (none) -> /var", "kernel: (none) -> /var"],
    ),
    "overlay": (
        replace(BASE, xml="<domain><cputune><shares>9</shares></cputune></domain>"),
        Impact.REBOOT,
        ["the xml overlay changed"],
    ),
    "overlay's white space": (replace(BASE, xml="  \n"), None, []),
}


@pytest.mark.parametrize(("edited", "impact", "told"), EDITS.values(), ids=EDITS.keys())
async def test_an_edit(edited: Vm, impact: Impact | None, told: list[str]) -> None:
    before = {**shape.desired(BASE, environment(BASE), host()), "machine": "pc-q35-10.0"}
    found = differences(edited, _with_seed(shape.desired(edited, environment(edited), host()), before), before)
    assert [reason.text[: len(text)] for reason, text in zip(reasons(edited, found), told, strict=True)] == told
    assert impact is None or worst(each.impact for each in found) is impact


def _with_seed(desired: shape.Shape, before: shape.Shape) -> shape.Shape:
    """The seed follows the NICs; here only the edit itself is looked at."""
    return {**desired, "seed.digest": before["seed.digest"]}


@pytest.mark.parametrize(("rerun", "impact"), [("never", Impact.LIVE), ("on-change", Impact.REBOOT)])
def test_seed_content(rerun: str, impact: Impact) -> None:
    before = vm(cloud_init=CloudInit({"runcmd": ["true"]}, rerun=rerun))
    after = replace(before, cloud_init=CloudInit({"runcmd": ["false"]}, rerun=rerun))
    shapes = [shape.desired(each, environment(each), host()) for each in (after, before)]
    found = differences(after, *shapes)
    assert [(each.field, each.impact) for each in found] == [("seed.digest", impact)]


LEASED = {**NETWORKS, "lab": replace(NETWORKS["lab"], dhcp=True)}


@pytest.mark.parametrize(
    ("cloud_init", "told"),
    [
        (None, ["nics.lan.ip: 10.20.0.10 -> 10.20.0.12"]),
        (CloudInit(network_config={"version": 2}), ["nics.lan.ip: 10.20.0.10 -> 10.20.0.12"]),
        (CloudInit(), []),  # the seed tells it
    ],
)
def test_an_address_a_guest_asks_for_is_had_by_booting(cloud_init: CloudInit | None, told: list[str]) -> None:
    before, after = (vm(nics=(nic(ip=ip),), cloud_init=cloud_init) for ip in ("10.20.0.10", "10.20.0.12"))
    [there, wanted] = (environment(each, networks=LEASED) for each in (before, after))

    def found(applied: shape.Shape) -> tuple[Difference, ...]:
        domain = Domain("db", before.uuid, "running", domain_xml(before, there, host(), applied=applied))
        live = shape.live(domain, wanted, after, host())
        return tuple(
            each for each in differences(after, shape.desired(after, wanted, host()), live) if "ip" in each.field
        )

    seen = found(shape.desired(before, there, host()))
    assert [reason.text for reason in reasons(after, seen)] == told
    assert {each.impact for each in seen} == ({Impact.REBOOT} if told else set())
    assert found({"memory": "1"}) == (), "made by an earlier version: it is not known what the guest has"


def test_a_reason_names_the_line() -> None:
    edited = replace(BASE, memory=512 * MIB, origins={"memory": line(12)})
    before = shape.desired(BASE, environment(BASE), host())
    found = differences(edited, shape.desired(edited, environment(edited), host()), before)
    assert [str(reason.source) for reason in reasons(edited, found)] == ["env.yml:12"]


def test_a_device_attached_by_hand_is_told() -> None:
    before = {**shape.desired(BASE, environment(BASE), host()), "disks.@vdx.path": "/x", "disks.@vdx.bus": "virtio"}
    found = differences(BASE, shape.desired(BASE, environment(BASE), host()), before)
    assert [reason.text for reason in reasons(BASE, found)] == [
        "disk vdx was attached on the host and is not in the file"
    ]


def test_what_is_plugged_in_has_no_place_in_the_boot_order() -> None:
    edited = vm(disks=(disk("log"), disk("root")))
    before = vm(disks=(disk("root"),))
    [plug] = plugs(*(domain_xml(each, environment(each), host()) for each in (before, edited)))
    assert (plug.verb, plug.name) == (Verb.ATTACH, "disk log")
    assert "<boot" not in plug.xml
