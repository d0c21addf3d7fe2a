"""Devices of a restored VM: its disks where they are now, its NICs on the host's networks, and nothing shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.backup.xml import SOURCES, parse
from novafleet.plan.listening import CHARACTER

if TYPE_CHECKING:
    from novafleet.capability.backup.restore_xml import NewDisk

LOGS = "/var/log/libvirt/qemu"
REMOVABLE = frozenset(("cdrom", "floppy"))


def fit_disks(
    root: Element, disks: Mapping[str, NewDisk], missing: frozenset[str], *, copy: bool = False
) -> Iterator[str]:
    """Point disks at their new images; of the others, what the host does not have is ejected or left out, and of a
    ``copy`` what its original writes to."""
    devices = root.find("devices")
    for disk in devices.findall("disk") if devices is not None else ():
        target = disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        if name in disks:
            yield from point(disk, disks[name])
            continue
        if copy and devices is not None and _written(disk):
            devices.remove(disk)
            yield f"{name} is not part of the backup, and its original may write to it: it is left out"
            continue
        source, path = disk.find("source"), place(disk)
        if source is None or path not in missing:
            continue
        if disk.get("device") in REMOVABLE:
            disk.remove(source)
            yield f"{path} is not on the host: {name} is empty"
        elif devices is not None:
            devices.remove(disk)
            yield f"{path} is not on the host: {name} is left out"


def place(disk: Element) -> str:
    """What of its host a disk lies on: a path, or ``pool NAME``; "" for none."""
    source = disk.find("source")
    if source is None:
        return ""
    if disk.get("type") == "volume":
        return f"pool {source.get('pool', '')}"
    return source.get(SOURCES.get(disk.get("type", ""), ""), "")


def _written(disk: Element) -> bool:
    """Does whoever has this disk write to it? What is written to a transient one is nobody's."""
    kept = any(disk.find(tag) is not None for tag in ("readonly", "transient"))
    return disk.get("device", "disk") not in REMOVABLE and disk.find("source") is not None and not kept


def lying_on(running: str, target: str, folder: str) -> bool:
    """Whether a running VM reads a disk, in part, through a socket in ``folder``."""
    for disk in parse(running).findall("devices/disk"):
        found = disk.find("target")
        if found is not None and found.get("dev") == target:
            return any(host.get("socket", "").startswith(folder + "/") for host in disk.iter("host"))
    return False


def point(disk: Element, image: NewDisk) -> Iterator[str]:
    """Give a disk another image, a file, without anything below it, and say what it loses by that."""
    if disk.find("encryption") is not None or disk.find("source/encryption") is not None:
        yield f"{image.path} is not encrypted, as the disk was"
    if disk.get("device") == "lun":  # only what passes SCSI commands on can be one
        disk.set("device", "disk")
        for name in ("sgio", "rawio"):
            disk.attrib.pop(name, None)
    for tag in ("source", "backingStore", "mirror", "auth", "encryption"):
        for child in disk.findall(tag):
            disk.remove(child)
    disk.set("type", "file")
    driver = disk.find("driver")
    if driver is None:
        driver = SubElement(disk, "driver", name="qemu")
    driver.set("type", image.format)
    disk.insert(list(disk).index(driver) + 1, Element("source", file=image.path))


def fit_interfaces(root: Element, networks: Mapping[str, str], macs: Sequence[str]) -> tuple[str, ...]:
    """Connect NICs to the networks and bridges named instead; ``macs``, if any, replace theirs. The MACs then."""
    used = []
    for index, interface in enumerate(root.findall("devices/interface")):
        source = interface.find("source")
        for kind in ("network", "bridge", "dev"):
            if source is not None and source.get(kind, "") in networks:
                source.set(kind, networks[source.get(kind, "")])
        target = interface.find("target")
        if target is not None:  # the host's end has a name only while the VM runs
            interface.remove(target)
        mac = interface.find("mac")
        if macs:
            if mac is None:
                mac = SubElement(interface, "mac")
            mac.set("address", macs[index])
        used.append(mac.get("address", "") if mac is not None else "")
    return tuple(used)


def separate(root: Element, before: str, name: str) -> Iterator[str]:
    """Take from a copy what it would share with its original: console logs, sockets, display ports."""
    for tag in CHARACTER:
        for index, device in enumerate(root.findall(f"devices/{tag}")):
            yield from _separate_files(device, before, name, f"{'console' if tag == 'serial' else tag}{index}")
    for graphics in root.findall("devices/graphics"):
        for attribute in ("port", "tlsPort", "websocket", "socket"):
            graphics.attrib.pop(attribute, None)
        for listen in graphics.findall("listen"):
            listen.attrib.pop("socket", None)  # libvirt chooses one
        if graphics.get("type") in ("vnc", "spice") and graphics.find("listen[@type='socket']") is None:
            graphics.set("autoport", "yes")
    for cid in root.findall("devices/vsock/cid"):
        cid.attrib.clear()
        cid.set("auto", "yes")
    yield from _separate_memory(root)
    for share in root.findall("devices/filesystem/source"):
        yield f"it shares {share.get('dir') or share.get('socket', '')} of the host with its original"
    for hostdev in root.findall("devices/hostdev"):
        yield f"a {hostdev.get('type', 'host')} device of the host is passed through: only one VM can run with it"


def _separate_memory(root: Element) -> Iterator[str]:
    devices = root.find("devices")
    for memory in devices.findall("memory") if devices is not None else ():
        if devices is not None and (path := (memory.findtext("source/path") or "").strip()):
            devices.remove(memory)
            yield f"{path} is memory of its original: it is left out"


def cut_off(root: Element, networks: Mapping[str, str]) -> Iterator[str]:
    """Take out what reaches beyond the VM: cards that are on none of ``networks``, folders and devices of the host."""
    devices = root.find("devices")
    for tag in ("filesystem", "hostdev", "shmem"):
        for device in devices.findall(tag) if devices is not None else ():
            devices.remove(device)  # type: ignore[union-attr]
            yield f"a {tag} of the host is left out"
    for card in devices.findall("interface") if devices is not None else ():
        source = card.find("source")
        names = [source.get(kind, "") for kind in ("network", "bridge", "dev")] if source is not None else []
        if not any(name in networks for name in names):
            devices.remove(card)  # type: ignore[union-attr]
            yield f"a card of type {card.get('type')} is left out"
        elif source is not None:
            _on_bridge(card, source)


def _on_bridge(card: Element, source: Element) -> None:
    """On a plain bridge, which knows nothing of macvtap, Open vSwitch or VLANs."""
    for tag in ("virtualport", "vlan"):
        for found in card.findall(tag):
            card.remove(found)
    if card.get("type") == "direct":
        card.set("type", "bridge")
        name = source.get("dev", "")
        source.attrib.clear()
        source.set("bridge", name)


def log_console(root: Element, name: str) -> None:
    """Have libvirt write what the VM says on its first serial port to the file gates look into."""
    devices, serial = root.find("devices"), root.find("devices/serial")
    if devices is not None and serial is None:
        serial = SubElement(devices, "serial", type="pty")
        SubElement(serial, "target", port="0")
    for device in (serial, root.find("devices/console")):
        if device is not None and device.get("type") == "pty":
            log = device.find("log")
            log = log if log is not None else SubElement(device, "log")
            log.set("file", f"{LOGS}/{name}-serial.log")
            log.set("append", "off")


def _separate_files(device: Element, before: str, name: str, what: str) -> Iterator[str]:
    log = device.find("log")
    if log is not None:
        log.set("file", _renamed(log.get("file", ""), before, name, what))
    source = device.find("source")
    if source is None:
        return
    if device.get("type") == "file":
        source.set("path", _renamed(source.get("path", ""), before, name, what))
    elif device.get("type") == "unix" and source.get("mode") == "bind" and device.tag == "channel":
        device.remove(source)
    elif device.get("type") == "unix" and source.get("mode") == "bind":
        folder, _, file = source.get("path", "").rpartition("/")
        source.set("path", f"{folder}/{file.replace(before, name) if before in file else f'{name}-{file}'}")
    elif device.get("type") == "tcp" and source.get("mode") == "bind":
        yield f"{device.tag} on TCP port {source.get('service', '')} is its original's: it is a pty"
        device.set("type", "pty")
        for tag in ("source", "protocol", "tls"):
            for child in device.findall(tag):
                device.remove(child)


def _renamed(path: str, before: str, name: str, what: str) -> str:
    folder, _, file = path.rpartition("/")
    return f"{folder}/{file.replace(before, name)}" if before and before in file else f"{LOGS}/{name}-{what}.log"
