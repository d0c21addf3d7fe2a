"""A domain's definition as its migration sees it: what must be the same, or there, on the destination. Pure.

Format: https://libvirt.org/formatdomain.html. Refusals of libvirt are those of ``qemuMigrationSrcIsAllowed`` (9.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.errors import MigrationError
from novafleet.model.facts import PoolFact
from novafleet.plan.firmware import tpm_state, variables

_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1 << 10, "KiB": 1 << 10, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
_UNITS |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "T": 1 << 40, "TiB": 1 << 40}


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A drive. ``device``: disk | lun | cdrom | floppy; ``kind``: file | block | network | volume | nvme | …;
    ``path`` is a file or device of the host, ``volume`` (pool, name) of a pool; both empty for an empty drive."""

    target: str
    device: str
    kind: str
    path: str
    format: str
    volume: tuple[str, str] = ("", "")
    readonly: bool = False
    shareable: bool = False
    transient: bool = False

    @property
    def medium(self) -> bool:
        """Is it a CD or floppy in a drive?"""
        return self.device in ("cdrom", "floppy")


@dataclass(frozen=True, slots=True)
class GuestNic:
    """A network card. ``kind`` as libvirt's type; ``source`` the network, bridge or interface it is on; ``filter`` the
    network filter it refers to."""

    mac: str
    kind: str
    source: str
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """Sizes in bytes. ``cpu`` is its ``<cpu>`` element as text, ``cpu_mode`` that element's; ``tied`` names devices
    that hold it to its host, ``frozen`` those with which QEMU cannot migrate while running; ``firmware`` is ``efi``
    where libvirt is to choose it."""

    name: str
    uuid: str
    kind: str
    arch: str
    machine: str
    emulator: str
    memory: int
    cpu: str
    cpu_mode: str
    disks: tuple[GuestDisk, ...]
    nics: tuple[GuestNic, ...]
    tied: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    loader: str = ""
    nvram: str = ""
    kernel: str = ""
    initrd: str = ""
    dtb: str = ""
    tpm: str = ""
    hugepages: bool = False
    firmware: str = ""


def read(xml: str) -> Guest:
    """Raises MigrationError NF-MIG-300 for what is no definition."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise MigrationError("libvirt's XML cannot be read", code="NF-MIG-300", cause=str(exc)) from exc
    system = root.find("os/type")
    cpu = root.find("cpu")
    return Guest(
        name=_text(root, "name"),
        uuid=_text(root, "uuid"),
        kind=root.get("type", ""),
        arch=system.get("arch", "") if system is not None else "",
        machine=system.get("machine", "") if system is not None else "",
        emulator=_text(root, "devices/emulator"),
        memory=_bytes(root.find("memory")),
        cpu=ElementTree.tostring(cpu, encoding="unicode").strip() if cpu is not None else "",
        cpu_mode=cpu.get("mode", "") if cpu is not None else "",
        disks=tuple(_disk(each) for each in root.iterfind("devices/disk")),
        nics=tuple(_nic(each) for each in root.iterfind("devices/interface")),
        tied=tuple(_tied(root)),
        frozen=tuple(_frozen(root)),
        loader=_text(root, "os/loader"),
        nvram=variables(root),
        kernel=_text(root, "os/kernel"),
        initrd=_text(root, "os/initrd"),
        dtb=_text(root, "os/dtb"),
        tpm=tpm_state(root),
        hugepages=root.find("memoryBacking/hugepages") is not None,
        firmware=_attribute(root, "os", "firmware"),
    )


def located(guest: Guest, pools: Mapping[str, PoolFact]) -> Guest:
    """The guest with volumes of directory pools as the files they are."""
    return replace(guest, disks=tuple(_file_of(disk, pools) for disk in guest.disks))


def _file_of(disk: GuestDisk, pools: Mapping[str, PoolFact]) -> GuestDisk:
    pool = pools.get(disk.volume[0])
    if disk.kind != "volume" or pool is None or not pool.path:
        return disk
    path = f"{pool.path.rstrip('/')}/{disk.volume[1]}"
    return replace(disk, path=path, kind="block" if path.startswith("/dev/") else "file")


def _text(root: Element, path: str) -> str:
    return root.findtext(path, "").strip()


def _bytes(element: Element | None) -> int:
    if element is None or not (element.text or "").strip().isdigit():
        return 0
    return int((element.text or "0").strip()) * _UNITS.get(element.get("unit", "KiB"), 1 << 10)


def _attribute(element: Element, path: str, *names: str) -> str:
    found = element.find(path)
    return next((found.get(name, "") for name in names if found.get(name)), "") if found is not None else ""


def _disk(disk: Element) -> GuestDisk:
    return GuestDisk(
        target=_attribute(disk, "target", "dev"),
        device=disk.get("device", "disk"),
        kind=disk.get("type", ""),
        path=_attribute(disk, "source", "file", "dev"),
        format=_attribute(disk, "driver", "type") or "raw",
        volume=(_attribute(disk, "source", "pool"), _attribute(disk, "source", "volume")),
        readonly=disk.find("readonly") is not None,
        shareable=disk.find("shareable") is not None,
        transient=disk.find("transient") is not None,
    )


def _nic(nic: Element) -> GuestNic:
    source = _attribute(nic, "source", "network", "bridge", "dev", "name", "path")
    return GuestNic(
        _attribute(nic, "mac", "address"), nic.get("type", ""), source, _attribute(nic, "filterref", "filter")
    )


def _tied(root: Element) -> Iterator[str]:
    """Devices of this very host."""
    for device in root.iterfind("devices/hostdev"):
        yield f"host device ({device.get('type', device.get('mode', ''))})"
    for nic in root.iterfind("devices/interface"):
        if nic.get("type") in ("hostdev", "vdpa", "vhostuser"):
            yield f"{nic.get('type')} interface {_attribute(nic, 'mac', 'address')}"
    for disk in root.iterfind("devices/disk"):
        if disk.get("device") == "lun" or disk.get("type") in ("nvme", "vhostuser", "vhostvdpa", "dir"):
            yield f"disk {_attribute(disk, 'target', 'dev')} ({disk.get('type')}, {disk.get('device', 'disk')})"
    if _attribute(root, "devices/tpm/backend", "type") == "passthrough":
        yield "the host's TPM"


def _frozen(root: Element) -> Iterator[str]:
    """Devices whose state QEMU cannot carry over while it runs."""
    for share in root.iterfind("devices/filesystem"):
        yield f"shared folder {_attribute(share, 'target', 'dir')}"
    for memory in root.iterfind("devices/shmem"):
        if _attribute(memory, "model", "type") != "ivshmem-doorbell" or memory.get("role") != "master":
            yield f"shared memory {memory.get('name', '')}"
    for disk in root.iterfind("devices/disk"):
        if disk.find("transient") is not None:
            yield f"transient disk {_attribute(disk, 'target', 'dev')}"
    if root.find("cpu/feature[@name='invtsc'][@policy='require']") is not None and not _fixed_clock(root):
        yield "CPU feature invtsc without a fixed TSC frequency"


def _fixed_clock(root: Element) -> bool:
    return root.find("clock/timer[@name='tsc'][@frequency]") is not None
