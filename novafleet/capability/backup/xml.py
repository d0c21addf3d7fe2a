"""What a domain's XML says of its disks, and what jobs and checkpoints say of themselves, read as trees.

Formats: https://libvirt.org/formatdomain.html, formatbackup.html, formatcheckpoint.html.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.errors import BackupError
from novafleet.nbd.pulljob import checkpoint_xml
from novafleet.plan.firmware import tpm_state, variables

DISK_ALIAS = "ua-disk-"
"""What ``capability/vm/devices.py`` names the disks of an environment's VM."""
AGENT_CHANNEL = "org.qemu.guest_agent.0"
UNREADABLE = {"vhostuser": "of another program (vhost-user)", "vhostvdpa": "of another program (vDPA)"}
UNREADABLE |= {"dir": "a directory of the host"}
"""By a disk's type, why QEMU cannot be asked for what is on it."""
SOURCES = {"file": "file", "block": "dev"}
"""By a disk's type, the attribute of ``<source>`` that holds a path on the host."""


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk of a domain. ``path`` is the active image's on the host, empty for one that is no file or block device;
    ``chain`` the images below it, as far as the XML tells; ``skip`` says why it is not backed up, empty when it is.
    ``volume`` is pool and name of one that is told by its place in a storage pool: its path must be asked for."""

    target: str
    name: str
    kind: str
    format: str
    path: str
    chain: tuple[str, ...] = ()
    skip: str = ""
    volume: tuple[str, str] | None = None
    encrypted: bool = False


def left_out(disk: GuestDisk, names: Collection[str]) -> GuestDisk:
    """The disk, skipped when it is among ``names`` (its own, or its target)."""
    named = not disk.skip and (disk.name in names or disk.target in names)
    return replace(disk, skip="left out by the policy") if named else disk


@dataclass(frozen=True, slots=True)
class Around:
    """What belongs to a VM besides its disks. ``nvram`` and ``tpm`` are the paths of its UEFI variables
    and of its emulated TPM's state; ``agent``: its guest agent answers (known of a running VM only)."""

    nvram: str = ""
    tpm: str = ""
    agent: bool = False
    networks: tuple[str, ...] = ()


def parse(xml: str) -> Element:
    """The tree. Raises BackupError NF-BAK-001 for what is no XML."""
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise BackupError("libvirt's XML cannot be read", cause=str(exc)) from exc


def disks_of(xml: str) -> tuple[GuestDisk, ...]:
    """Every disk of a domain definition, those left out with the reason. Use the running XML of a running VM."""
    return tuple(_disk(each) for each in parse(xml).findall("devices/disk") if _target(each))


def around(xml: str) -> Around:
    """NVRAM, TPM, agent and networks of a domain definition."""
    root = parse(xml)
    channels = [each for each in root.findall("devices/channel/target") if each.get("name") == AGENT_CHANNEL]
    sources = root.findall("devices/interface[@type='network']/source")
    return Around(
        nvram=variables(root),
        tpm=tpm_state(root),
        agent=any(each.get("state") == "connected" for each in channels),
        networks=tuple(sorted({name for each in sources if (name := each.get("network", ""))})),
    )


def domain_id(xml: str) -> str:
    """The number of a running domain, empty for one that is off."""
    return parse(xml).get("id", "")


def _target(disk: Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


def _disk(disk: Element) -> GuestDisk:
    target = _target(disk)
    alias = disk.find("alias")
    name = alias.get("name", "") if alias is not None else ""
    driver, source = disk.find("driver"), disk.find("source")
    kind = disk.get("type", "")
    return GuestDisk(
        target=target,
        name=name.removeprefix(DISK_ALIAS) if name.startswith(DISK_ALIAS) else target,
        kind=kind,
        format=driver.get("type", "raw") if driver is not None else "raw",
        path=source.get(SOURCES[kind], "") if source is not None and kind in SOURCES else "",
        chain=_chain(disk),
        skip=_skip(disk, source),
        encrypted=disk.find("encryption") is not None or disk.find("source/encryption") is not None,
        volume=(source.get("pool", ""), source.get("volume", "")) if source is not None and kind == "volume" else None,
    )


def _chain(disk: Element) -> tuple[str, ...]:
    """The images below the active one, nearest first (a running domain's XML names them)."""
    found = []
    store = disk.find("backingStore")
    while store is not None and store.find("source") is not None:
        source = store.find("source")
        if source is not None and (path := source.get("file") or source.get("dev")):
            found.append(path)
        store = store.find("backingStore")
    return tuple(found)


def _skip(disk: Element, source: Element | None) -> str:
    if disk.get("device", "disk") not in ("disk", "lun"):
        return f"a {disk.get('device')}"
    if disk.find("readonly") is not None:
        return "read-only"
    if source is None:
        return "empty"
    if disk.find("transient") is not None:
        return "made anew at each start"
    return UNREADABLE.get(disk.get("type", ""), "")


def beside(xml: str) -> dict[str, str]:
    """What the guest writes to that is no disk, by path, and why it is not backed up."""
    root, found = parse(xml), {}
    for source in root.iterfind("devices/filesystem/source"):
        if name := source.get("dir") or source.get("socket") or source.get("file") or source.get("name"):
            found[name] = "shared with the guest by its host"
    for memory in root.iterfind("devices/memory"):
        if path := (memory.findtext("source/path") or "").strip():
            found[path] = f"memory kept in a file ({memory.get('model', '')})"
    return found


def known_checkpoint_xml(name: str, created: int, targets: Sequence[str], others: Sequence[str]) -> str:
    """The same for a checkpoint that exists already, so that libvirt knows it again (redefinition)."""
    root = ElementTree.fromstring(checkpoint_xml(name, targets, others))
    SubElement(root, "creationTime").text = str(created)
    for disk in root.findall("disks/disk[@checkpoint='bitmap']"):
        disk.set("bitmap", name)
    return ElementTree.tostring(root, encoding="unicode")


def covered(xml: str) -> frozenset[str]:
    """The disks a checkpoint records, by target."""
    disks = parse(xml).findall("disks/disk")
    return frozenset(disk.get("name", "") for disk in disks if disk.get("checkpoint") == "bitmap")


def sizes(xml: str) -> dict[str, int]:
    """How many bytes a checkpoint records by now, by target (VIR_DOMAIN_CHECKPOINT_XML_SIZE)."""
    disks = parse(xml).findall("disks/disk")
    return {disk.get("name", ""): int(size) for disk in disks if (size := disk.get("size", "")).isdecimal()}


def job_socket(xml: str) -> str:
    """Where a backup job exports, empty for a push job or one on TCP."""
    server = parse(xml).find("server")
    return server.get("socket", "") if server is not None else ""


def job_disks(xml: str) -> dict[str, str]:
    """The checkpoint since which each disk of a job, by target, is exported; empty for one that is exported whole."""
    disks = parse(xml).findall("disks/disk[@backup='yes']")
    return {disk.get("name", ""): disk.get("incremental", "") for disk in disks}
