"""A definition out of a snapshot, made to fit another name and another host. Pure; a tree in, a tree out.

Format: https://libvirt.org/formatdomain.html, formatcaps.html.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.backup.restore_devices import cut_off, fit_disks, fit_interfaces, log_console, place, separate
from novafleet.capability.backup.xml import parse
from novafleet.errors import BackupError, Retry
from novafleet.model.address import METADATA_NS
from novafleet.plan.elsewhere import fit_machine, for_older_libvirt
from novafleet.plan.listening import unlisten
from novafleet.plan.pins import Topology, topology, unpin
from novafleet.plan.record import RESOURCE

NEEDED = ("kernel", "initrd", "dtb", "table")
"""Files without which it does not start."""
HOST_CPUS = frozenset(("host-passthrough", "host-model"))

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a host can run of one architecture. ``owner`` is the UID:GID of QEMU there, empty when it is not told."""

    machines: frozenset[str]
    emulator: str
    kvm: bool
    owner: str = ""
    topology: Topology = field(default_factory=Topology)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a definition names on its host: files by what they are for, networks and bridges of its NICs, and
    the interfaces they are put on (macvtap)."""

    files: Mapping[str, str]
    networks: frozenset[str]
    bridges: frozenset[str]
    devices: frozenset[str]
    macs: frozenset[str]
    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class NewDisk:
    """The image a disk has from now on."""

    path: str
    format: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall become of a definition. ``copy``: it is another VM than the one it was taken of, and shares nothing
    with it, except for MACs when it lives ``apart``, with its console logged; ``missing`` are those of its files that
    the host does not have; ``nvram`` where its variables lie."""

    name: str
    uuid: str
    copy: bool
    disks: Mapping[str, NewDisk]
    abilities: Abilities
    networks: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    nvram: str = ""
    apart: bool = False
    addresses: frozenset[str] = frozenset()
    """The host's, IPv4; empty when nobody told."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The new definition, its MAC addresses, and what had to be changed."""

    xml: str
    macs: tuple[str, ...]
    notes: tuple[str, ...]


def abilities(capabilities: str, definition: str) -> Abilities:
    """Of the host's capabilities what concerns a definition's architecture. Raises BackupError NF-BAK-034."""
    arch = _arch(parse(definition))
    root = parse(capabilities)
    found = [each for each in root.findall("guest/arch") if each.get("name") == arch]
    if not found:
        raise _cannot(f"it has no QEMU for {arch}", "install qemu-system for that architecture there")
    names = {name for each in found[0].findall("machine") for name in (each.text, each.get("canonical")) if name}
    kvm = any(each.get("type") == "kvm" for each in found[0].findall("domain"))
    return Abilities(
        frozenset(names), found[0].findtext("emulator", ""), kvm, _owner(root, kvm=kvm), topology(capabilities)
    )


def _owner(root: Element, *, kvm: bool) -> str:
    labels = {
        label.get("type"): label.text or ""
        for model in root.findall("host/secmodel")
        if model.findtext("model") == "dac"
        for label in model.findall("baselabel")
    }
    return labels.get("kvm" if kvm else "qemu", "").replace("+", "")


def needs(definition: str) -> Needs:
    """What to look for on a host before a VM goes there. Raises BackupError for what is no domain."""
    root = parse(definition)
    interfaces = root.findall("devices/interface")
    sources = [source for each in interfaces if (source := each.find("source")) is not None]
    return Needs(
        files=dict(_files(root)),
        networks=frozenset(name for each in sources if (name := each.get("network", ""))),
        bridges=frozenset(name for each in sources if (name := each.get("bridge", ""))),
        devices=frozenset(each.get("dev", "") for each in root.findall("devices/interface[@type='direct']/source")),
        macs=frozenset(mac.get("address", "").lower() for each in interfaces if (mac := each.find("mac")) is not None),
        uuid=root.findtext("uuid", ""),
        name=root.findtext("name", ""),
    )


def _files(root: Element) -> Iterator[tuple[str, str]]:
    for tag in ("kernel", "initrd", "dtb", "loader"):
        if path := (root.findtext(f"os/{tag}") or "").strip():
            yield path, tag
    for table in root.findall("os/acpi/table"):
        yield (table.text or "").strip(), "table"
    for entry in root.findall("sysinfo[@type='fwcfg']/entry[@file]"):
        yield entry.get("file", ""), "table"
    nvram = root.find("os/nvram")
    if nvram is not None and (template := nvram.get("template", "")):
        yield template, "template"
    if emulator := root.findtext("devices/emulator"):
        yield emulator, "emulator"
    for disk in root.findall("devices/disk"):
        if path := place(disk):
            yield path, "disk"


UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
UNITS |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}
"""libvirt's (formatdomain.html, "Memory Allocation"); KiB when none is named."""


def memory_of(definition: str) -> int:
    """Bytes of memory a VM has at its start; 0 when it does not say."""
    memory = parse(definition).find("memory")
    text = (memory.text or "").strip() if memory is not None else ""
    return int(text) * UNITS.get(memory.get("unit", "KiB"), 1024) if memory is not None and text.isdigit() else 0


def new_uuid(host: str, name: str) -> str:
    """The UUID of a copy: the same whenever it is made again under that name there."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{METADATA_NS}/restore/{host}/{name}"))


def new_mac(owner: str, index: int) -> str:
    """The MAC address of a copy's NIC."""
    digits = hashlib.sha256(f"{owner}/{index}".encode()).hexdigest()
    return ":".join(("52", "54", "00", digits[0:2], digits[2:4], digits[4:6]))


def fit(definition: str, wish: Wish) -> Fitted:
    """The definition as it shall be. Raises BackupError NF-BAK-034 for what the host cannot run."""
    root = parse(definition)
    before = root.findtext("name", "")
    notes = [*_boot(root, wish), *_machine(root, wish.abilities), *_accelerator(root, wish.abilities)]
    notes += fit_disks(root, wish.disks, wish.missing, copy=wish.copy)
    notes += (f"it is not pinned any more: {pin}" for pin in unpin(root, wish.abilities.topology))
    notes += (f"the host has no {each}: it listens on 127.0.0.1" for each in unlisten(root, wish.addresses))
    if wish.apart:
        notes += cut_off(root, wish.networks)
    _identity(root, wish)
    macs = [new_mac(wish.uuid, index) for index in range(len(root.findall("devices/interface")))]
    used = fit_interfaces(root, wish.networks, macs if wish.copy and not wish.apart else ())
    if wish.copy:
        notes += separate(root, before, wish.name)
    if wish.apart:
        log_console(root, wish.name)
    ElementTree.indent(root)
    return Fitted(ElementTree.tostring(root, encoding="unicode"), used, tuple(notes))


def _identity(root: Element, wish: Wish) -> None:
    for tag, value in (("name", wish.name), ("uuid", wish.uuid)):
        found = root.find(tag)
        (found if found is not None else SubElement(root, tag)).text = value
    root.attrib.pop("id", None)
    for backend in root.findall("devices/tpm/backend[@type='emulator']"):
        for source in backend.findall("source"):  # where the original has its state
            backend.remove(source)
    for entry in root.findall("sysinfo/system/entry[@name='uuid']"):
        entry.text = wish.uuid
    metadata = root.find("metadata")
    if wish.copy and metadata is not None:  # the environment knows nothing of a copy
        for record in metadata.findall(RESOURCE):
            metadata.remove(record)
    renew(root)


def renew(root: Element) -> bool:
    """Let libvirt choose another generation ID, by which a guest knows that it goes on from a backup."""
    genid = root.find("genid")
    if genid is not None:
        genid.text = None
    return genid is not None


def _boot(root: Element, wish: Wish) -> Iterator[str]:
    os = root.find("os")
    if os is None:
        return
    for path, tag in _files(root):
        if tag in NEEDED and path in wish.missing:
            raise _cannot(f"it has no {path}, the VM's {tag}", f"copy {path} there from the VM's old host")
    nvram, loader = os.find("nvram"), os.find("loader")
    if nvram is not None and wish.nvram:
        _put_variables(nvram, wish.nvram)
        if nvram.get("template", "") in wish.missing:
            del nvram.attrib["template"]
    if loader is not None and (loader.text or "").strip() in wish.missing:
        yield f"firmware {loader.text} is not on the host: libvirt chooses another one"
        _choose_firmware(os, loader)


def _put_variables(nvram: Element, path: str) -> None:
    """As text: a source (libvirt 8.5) would still name the original's."""
    for source in nvram.findall("source"):
        nvram.remove(source)
    nvram.attrib.pop("type", None)
    nvram.text = path


def _choose_firmware(os: Element, loader: Element) -> None:
    os.set("firmware", "efi")
    os.remove(loader)
    firmware = os.find("firmware")
    if firmware is None:
        firmware = SubElement(os, "firmware")
        SubElement(firmware, "feature", enabled=loader.get("secure", "no"), name="secure-boot")


def _arch(root: Element) -> str:
    kind = root.find("os/type")
    return kind.get("arch", "x86_64") if kind is not None else "x86_64"


def _machine(root: Element, can: Abilities) -> Iterator[str]:
    try:
        had, has = fit_machine(root, can.machines)
    except LookupError as error:
        raise _cannot(f"its QEMU has no machine type {error.args[0]}", "restore to a host with a newer QEMU") from error
    if has != had:
        yield f"machine type {had} is not known there: {has}"
    for_older_libvirt(root)
    emulator = root.find("devices/emulator")
    if emulator is not None and can.emulator and emulator.text != can.emulator:
        yield f"emulator {emulator.text}: {can.emulator}"
        emulator.text = can.emulator


def _accelerator(root: Element, can: Abilities) -> Iterator[str]:
    if root.get("type") != "kvm" or can.kvm:
        return
    root.set("type", "qemu")
    cpu = root.find("cpu")
    if cpu is not None and cpu.get("mode") in HOST_CPUS:
        at = list(root).index(cpu)
        root.remove(cpu)
        root.insert(at, Element("cpu", mode="maximum", check="none"))
    yield "the host has no KVM: the VM is emulated, and slow"


def _cannot(what: str, hint: str) -> BackupError:
    return BackupError(f"the host cannot run this VM: {what}", code="NF-BAK-034", hints=(hint,), retry=Retry.AFTER_FIX)
