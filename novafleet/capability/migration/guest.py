"""A domain's definition as its migration sees it: what must be the same, or there, on the destination. Pure.

Format: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.capability.migration.bound import attribute, frozen, tied, unlooked
from novafleet.errors import MigrationError
from novafleet.model.facts import PoolFact
from novafleet.plan.firmware import tpm_state, variables
from novafleet.plan.listening import listens

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
    encrypted: bool = False
    startup: str = "mandatory"
    """What becomes of a start without its medium: mandatory | requisite | optional."""

    @property
    def medium(self) -> bool:
        """Is it a CD or floppy in a drive?"""
        return self.device in ("cdrom", "floppy")


@dataclass(frozen=True, slots=True)
class GuestNic:
    """A network card. ``kind`` as libvirt's type, ``network`` also where libvirt tells of a running one what that is
    made of; ``source`` the network, bridge or interface it is on, or the tap somebody else makes; ``filter`` the
    network filter it refers to."""

    mac: str
    kind: str
    source: str
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """Sizes in bytes. ``cpu`` is its ``<cpu>`` element as text, ``cpu_mode`` that element's; ``tied`` names devices
    that hold it to its host, ``frozen`` those with which QEMU cannot migrate while running, ``unlooked`` what else it
    needs of its host; ``firmware`` is ``efi`` where libvirt is to choose it; ``tables`` are files the guest is shown as
    firmware tables, ``random`` devices of the host it has its randomness of, ``cid`` its fixed vsock address."""

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
    unlooked: tuple[str, ...] = ()
    listens: frozenset[str] = frozenset()
    tables: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    cid: str = ""


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
        tied=tied(root),
        frozen=tuple(frozen(root)),
        loader=_text(root, "os/loader"),
        nvram=variables(root),
        kernel=_text(root, "os/kernel"),
        initrd=_text(root, "os/initrd"),
        dtb=_text(root, "os/dtb"),
        tpm=tpm_state(root),
        hugepages=root.find("memoryBacking/hugepages") is not None,
        firmware=attribute(root, "os", "firmware"),
        unlooked=unlooked(root),
        listens=listens(root),
        tables=tuple(dict.fromkeys(_tables(root))),
        random=tuple(dict.fromkeys(_random(root))),
        cid=_cid(root),
    )


def whole(active: str, defined: str, pools: Mapping[str, PoolFact]) -> Guest:
    """The guest as it runs (or as it is defined), its volumes as files, with the media that only its definition has."""
    guest, other = located(read(active), pools), located(read(defined), pools)
    known = {disk.path for disk in guest.disks}
    media = (disk for disk in other.disks if disk.medium and disk.path and disk.path not in known)
    more = (replace(disk, startup=disk.startup.replace("mandatory", "requisite")) for disk in media)
    return replace(guest, disks=(*guest.disks, *more))


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


def _disk(disk: Element) -> GuestDisk:
    return GuestDisk(
        target=attribute(disk, "target", "dev"),
        device=disk.get("device", "disk"),
        kind=disk.get("type", ""),
        path=attribute(disk, "source", "file", "dev"),
        format=attribute(disk, "driver", "type") or "raw",
        volume=(attribute(disk, "source", "pool"), attribute(disk, "source", "volume")),
        readonly=disk.find("readonly") is not None,
        shareable=disk.find("shareable") is not None,
        transient=disk.find("transient") is not None,
        encrypted=disk.find("encryption") is not None or disk.find("source/encryption") is not None,
        startup=attribute(disk, "source", "startupPolicy") or "mandatory",
    )


def _nic(nic: Element) -> GuestNic:
    source = attribute(nic, "source", "network", "bridge", "dev", "name", "path")
    kind = "network" if attribute(nic, "source", "network") else nic.get("type", "")
    if kind == "ethernet" and attribute(nic, "target", "managed") == "no":
        source = attribute(nic, "target", "dev")
    return GuestNic(attribute(nic, "mac", "address"), kind, source, attribute(nic, "filterref", "filter"))


def _tables(root: Element) -> Iterator[str]:
    for table in root.iterfind("os/acpi/table"):
        yield (table.text or "").strip()
    for entry in root.iterfind("sysinfo[@type='fwcfg']/entry[@file]"):
        yield entry.get("file", "")
    for rom in root.iterfind("devices/interface/rom[@file]"):
        yield rom.get("file", "")


def _random(root: Element) -> Iterator[str]:
    for backend in root.iterfind("devices/rng/backend[@model='random']"):
        if path := (backend.text or "").strip():
            yield path


def _cid(root: Element) -> str:
    cid = root.find("devices/vsock/cid")
    return cid.get("address", "") if cid is not None and cid.get("auto") != "yes" else ""
