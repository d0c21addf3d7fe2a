"""The devices of a domain as XML trees. Format: https://libvirt.org/formatdomain.html#devices.

Disks and NICs are known by name: their alias is ``ua-disk-NAME`` and ``ua-nic-NAME`` (libvirt keeps aliases that
start with ``ua-``), and a disk's serial is its name, so that a guest finds it as ``/dev/disk/by-id/virtio-NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

from novafleet.model.environment import Disk, Environment, NetworkMode, Nic, Vm
from novafleet.model.facts import HostFacts
from novafleet.plan.storage import seed_path, serial_log, volume_path

DISK_ALIAS = "ua-disk-"
NIC_ALIAS = "ua-nic-"
SEED_ALIAS = "ua-seed"
SEED_TARGET = "vdz"
"""The seed is a read-only virtio disk and not a CD: cloud kernels (Debian's linux-image-cloud) drive no SATA."""

LONGEST_SERIAL = 20
"""Bytes of a virtio-blk serial (VIRTIO_BLK_ID_BYTES)."""

_PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd"}
_LETTERS = "abcdefghijklmnopqrstuvwxy"


def disk_targets(disks: Mapping[str, Disk], taken: Mapping[str, str]) -> Mapping[str, str]:
    """Target (``vda``) by disk name: the one it has in ``taken``, else the first free of its bus."""
    targets: dict[str, str] = {name: dev for name, dev in taken.items() if name in disks}
    used = set(targets.values())
    for name, disk in disks.items():
        if name not in targets:
            prefix = _PREFIXES.get(disk.bus, "sd")
            targets[name] = next(dev for letter in _LETTERS if (dev := prefix + letter) not in used)
            used.add(targets[name])
    return targets


def disk_device(disk: Disk, facts: HostFacts, target: str, boot: int = 0) -> Element:
    """``<disk>`` of one volume; ``boot`` is its boot order, 0 for none. Raises ConfigError NF-VOL-003."""
    device = _file_disk(volume_path(facts, disk), disk.format, target, disk.bus, DISK_ALIAS + disk.name)
    device[0].set("discard", "unmap")
    if boot:
        SubElement(device, "boot", order=str(boot))
    SubElement(device, "serial").text = disk.name[:LONGEST_SERIAL]
    return device


def seed_device(environment: Environment, vm: Vm, facts: HostFacts) -> Element:
    """``<disk>`` of the cloud-init seed."""
    device = _file_disk(seed_path(facts, environment.name, vm.name), "raw", SEED_TARGET, "virtio", SEED_ALIAS)
    SubElement(device, "readonly")
    return device


def _file_disk(path: str, form: str, target: str, bus: str, alias: str) -> Element:
    device = Element("disk", type="file", device="disk")
    SubElement(device, "driver", name="qemu", type=form)
    SubElement(device, "source", file=path)
    SubElement(device, "target", dev=target, bus=bus)
    SubElement(device, "alias", name=alias)
    return device


def nic_device(nic: Nic, environment: Environment) -> Element:
    """``<interface>`` on a libvirt network, or on a bridge the host already has."""
    kind, name = nic_source(nic, environment)
    device = Element("interface", type=kind)
    SubElement(device, "mac", address=nic.mac.lower())
    SubElement(device, "source", {kind: name})
    if tag := environment.networks[nic.network].vlan:
        SubElement(SubElement(device, "vlan"), "tag", id=str(tag))
    SubElement(device, "model", type=nic.model)
    SubElement(device, "alias", name=NIC_ALIAS + nic.name)
    return device


def nic_source(nic: Nic, environment: Environment) -> tuple[str, str]:
    """("network", libvirt name) or ("bridge", interface name)."""
    network = environment.networks[nic.network]
    if network.mode is NetworkMode.BRIDGE:
        return "bridge", network.bridge
    return "network", network.libvirt_name


def serial_device(vm: Vm) -> Element:
    """A console whose output virtlogd keeps in a file of the host."""
    device = Element("serial", type="pty")
    SubElement(device, "log", file=serial_log(vm), append="off")
    SubElement(device, "target", port="0")
    return device


def agent_channel() -> Element:
    """The channel of the QEMU guest agent."""
    device = Element("channel", type="unix")
    SubElement(device, "target", type="virtio", name="org.qemu.guest_agent.0")
    return device


def rng_device() -> Element:
    """Entropy from the host: guests that wait for it boot at once."""
    device = Element("rng", model="virtio")
    SubElement(device, "backend", model="random").text = "/dev/urandom"
    return device


def balloon_device() -> Element:
    """The balloon, with guest memory statistics every ten seconds for metrics."""
    device = Element("memballoon", model="virtio")
    SubElement(device, "stats", period="10")
    return device


def tpm_device() -> Element:
    """A TPM 2.0 emulated by swtpm on the host."""
    device = Element("tpm", model="tpm-crb")
    SubElement(device, "backend", type="emulator", version="2.0")
    return device


def root_ports(count: int) -> tuple[Element, ...]:
    """PCIe root ports of a q35 machine: a device can be hot-plugged only into one that is free."""
    return tuple(Element("controller", type="pci", model="pcie-root-port") for _ in range(count))
