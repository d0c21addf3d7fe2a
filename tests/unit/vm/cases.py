"""Environments the tests of VMs and volumes share: small, named after what is special about them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from novafleet.errors import Location
from novafleet.model.environment import (
    Artifact,
    CloudInit,
    Disk,
    Environment,
    Image,
    Network,
    NetworkMode,
    Nic,
    Vm,
)
from novafleet.model.facts import HostFacts, PoolFact

MIB, GIB = 1 << 20, 1 << 30
NAME = "vmtest"
POOL = "/var/lib/libvirt/images"
DIGEST = "d" * 64
KERNEL, INITRD = "a" * 64, "b" * 64
FILE = "env.yml"


def line(number: int) -> Location:
    """A place in the environment file."""
    return Location(FILE, number)


def disk(name: str, vm: str = "db", **fields: Any) -> Disk:
    """A disk of ``vm`` with the path NovaFleet gives it."""
    suffix = fields.get("format", "qcow2")
    return Disk(name, f"{NAME}.{vm}.{name}.{suffix}", **{"size": GIB, "source": line(20), **fields})


def nic(name: str = "lan", network: str = "lab", **fields: Any) -> Nic:
    """A NIC with a MAC made from its name."""
    digits = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex
    mac = f"52:54:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}"
    return Nic(name, network, **{"mac": mac, "source": line(30), **fields})


def vm(name: str = "db", *, disks: tuple[Disk, ...] | None = None, nics: tuple[Nic, ...] = (), **fields: Any) -> Vm:
    """A small VM on kvm1."""
    held = (disk("root", name),) if disks is None else disks
    return Vm(
        name=name,
        base=name,
        domain=f"{NAME}-{name}",
        uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{NAME}/{name}")),
        **{
            "host": "kvm1",
            "memory": 256 * MIB,
            "disks": {each.name: each for each in held},
            "nics": {each.name: each for each in nics},
            "source": line(10),
            **fields,
        },
    )


IMAGES = {
    "mini": Image("mini", kernel=Artifact(sha256=KERNEL), initrd=Artifact(sha256=INITRD), cmdline="console=ttyS0"),
    "debian": Image("debian", disk=Artifact(sha256=DIGEST), format="qcow2"),
}
NETWORKS = {
    "lab": Network("lab", f"{NAME}-lab", NetworkMode.NAT, cidr="10.20.0.0/24", gateway="10.20.0.1", hosts=("kvm1",)),
    "office": Network("office", "office", NetworkMode.BRIDGE, bridge="br0", hosts=("kvm1",)),
    "tagged": Network("tagged", "tagged", NetworkMode.BRIDGE, bridge="br0", vlan=120, hosts=("kvm1",)),
}


def environment(*vms: Vm, **fields: Any) -> Environment:
    """An environment of these VMs with two images and two networks."""
    named: Mapping[str, Vm] = {each.name: each for each in vms}
    return Environment(NAME, line(1), **{"images": IMAGES, "networks": NETWORKS, "vms": named, **fields})


def host(name: str = "kvm1", **fields: Any) -> HostFacts:
    """A host with an empty default pool."""
    pools = {"default": PoolFact("default", True, POOL, 100 * GIB, 50 * GIB)}
    return HostFacts(name, 0.0, **{"pools": pools, "memory_available": 8 * GIB, **fields})


def _case(machine: Vm) -> tuple[Environment, Vm, HostFacts]:
    return environment(machine), machine, host()


OVERLAY = """<domain><cputune><shares>2048</shares></cputune>
  <devices><interface type="bridge"><mac address="52:54:00:00:00:99"/><source bridge="br1"/><model type="e1000"/>
  </interface><sound model="ich9"/></devices></domain>"""

BUSES = (disk("root", bus="sata"), disk("data", bus="scsi"), disk("log", format="raw"), disk("usb", bus="usb"))

CASES: Mapping[str, tuple[Environment, Vm, HostFacts]] = {
    "plain": _case(vm()),
    "bare": _case(vm(disks=(), agent=False, machine="pc")),
    "kernel": _case(vm(boot="mini", nics=(nic(), nic("wan", "office", model="e1000")), autostart=True)),
    "uefi": _case(vm(firmware="uefi", vcpus=2, memory=300 * MIB + 5, cpu="Nehalem")),
    "secure": _case(vm(firmware="uefi-secure", tpm=True)),
    "buses": _case(
        vm(
            disks=(
                disk("root", bus="sata"),
                disk("data", bus="scsi"),
                disk("log", format="raw"),
                disk("usb", bus="usb"),
            )
        )
    ),
    "seeded": _case(vm(cloud_init=CloudInit({"runcmd": ["true"]}), nics=(nic(ip="10.20.0.10"),))),
    "overlaid": _case(vm(xml=OVERLAY, cpu="maximum")),
}


def with_vm(env: Environment, machine: Vm) -> Environment:
    """The environment with one VM replaced."""
    return replace(env, vms={**env.vms, machine.name: machine})
