"""What libvirt's QEMU driver makes of a definition it is given: the fake's half of drift. Pure, trees in place.

Observed on libvirt 9.0 and 11.3: it fills in defaults, replaces machine aliases, adds the controllers and consoles a
machine has, gives every device an address, drops aliases that do not start with ``ua-`` and sorts devices by kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import count
from xml.etree.ElementTree import Element, SubElement

MACHINES = {"q35": "pc-q35-10.0", "pc": "pc-i440fx-10.0", "": "pc-i440fx-10.0"}
EMULATOR = "/usr/bin/qemu-system-x86_64"

_ORDER = (
    *("emulator", "disk", "controller", "interface", "serial", "console", "channel", "input", "tpm"),
    *("graphics", "audio", "video", "watchdog", "memballoon", "rng"),
)
_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1 << 10, "M": 1 << 10, "GiB": 1 << 20, "G": 1 << 20}
_ON_PCI = frozenset(("interface", "memballoon", "rng", "video"))


def domain(root: Element) -> None:
    """Complete a domain definition. A device that has an address keeps it."""
    _scalars(root)
    devices = _child(root, "devices")
    machine = root.find("os/type")
    assert machine is not None
    machine.set("machine", MACHINES.get(machine.get("machine", ""), machine.get("machine", "")))
    pcie = "q35" in machine.get("machine", "")
    _implicit(devices, pcie=pcie)
    for device in devices:
        complete(device)
    _consoles(devices)
    address(devices, pcie=pcie)
    sort(devices)


def network(root: Element) -> None:
    """Complete a network definition."""
    forward = root.find("forward")
    if forward is not None and forward.get("mode", "nat") == "nat" and forward.find("nat") is None:
        SubElement(SubElement(forward, "nat"), "port", start="1024", end="65535")
    bridge = _child(root, "bridge")
    for name, value in (("name", f"virbr{_digits(root)[:4]}"), ("stp", "on"), ("delay", "0")):
        bridge.set(name, bridge.get(name, value))
    if root.find("mac") is None:
        SubElement(root, "mac", address=_mac(root))


def _scalars(root: Element) -> None:
    memory = root.find("memory")
    assert memory is not None
    kib = int(float(memory.text or 0) * _KIB[memory.get("unit", "KiB")])
    set_kib(memory, kib)
    current = _child(root, "currentMemory")
    set_kib(current, min(kib, int(float(current.text or kib) * _KIB[current.get("unit", "KiB")])))
    vcpu = _child(root, "vcpu", "1")
    vcpu.set("placement", vcpu.get("placement", "static"))
    if root.find("cpu") is None:
        model = SubElement(SubElement(root, "cpu", mode="custom", match="exact", check="none"), "model")
        model.set("fallback", "forbid")
        model.text = "qemu64"
    _child(root, "clock").set("offset", "utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _child(root, f"on_{event}", action)
    system = root.find("os")
    if system is not None and system.find("boot") is None and root.find("devices/*/boot") is None:
        SubElement(system, "boot", dev="hd")


def set_kib(element: Element, kib: int) -> None:
    """A memory element in libvirt's unit."""
    element.set("unit", "KiB")
    element.text = str(kib)


def _implicit(devices: Element, *, pcie: bool) -> None:
    _child(devices, "emulator", EMULATOR)
    for kind in ("pci", "usb"):
        if devices.find(f"controller[@type='{kind}']") is None:
            SubElement(devices, "controller", type=kind, index="0", model=_model(kind, pcie=pcie))
    buses = {target.get("bus", "") for target in devices.iterfind("disk/target")}
    wanted = {"sata": pcie or "sata" in buses, "scsi": "scsi" in buses, "virtio-serial": _has_channel(devices)}
    for kind, needed in wanted.items():
        if needed and devices.find(f"controller[@type='{kind}']") is None:
            SubElement(devices, "controller", type=kind, index="0")
    for kind in ("mouse", "keyboard"):
        if devices.find(f"input[@type='{kind}']") is None:
            SubElement(devices, "input", type=kind, bus="ps2")
    if devices.find("audio") is None:
        SubElement(devices, "audio", id="1", type="none")
    if devices.find("memballoon") is None:
        SubElement(devices, "memballoon", model="virtio")
    if pcie and devices.find("watchdog") is None:
        SubElement(devices, "watchdog", model="itco", action="reset")


def _has_channel(devices: Element) -> bool:
    return devices.find("channel/target[@type='virtio']") is not None


def _model(kind: str, *, pcie: bool) -> str:
    return {"pci": "pcie-root" if pcie else "pci-root", "usb": "qemu-xhci" if pcie else "piix3-uhci"}[kind]


def complete(device: Element) -> None:
    """The defaults of one device; an alias that is not the user's own is dropped."""
    alias = device.find("alias")
    if alias is not None and not alias.get("name", "").startswith("ua-"):
        device.remove(alias)
    if device.tag == "disk":
        device.set("device", device.get("device", "disk"))
        if device.find("driver") is None:
            SubElement(device, "driver", name="qemu", type="raw")
    if device.tag == "interface":
        if device.find("mac") is None:
            SubElement(device, "mac", address=_mac(device))
        if device.find("model") is None:
            SubElement(device, "model", type="rtl8139")
    if device.tag == "serial":
        target = _child(device, "target")
        target.attrib.update({"type": "isa-serial", "port": target.get("port", "0")})
        if target.find("model") is None:
            SubElement(target, "model", name="isa-serial")


def _mac(element: Element) -> str:
    digits = _digits(element)
    return f"52:54:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}"


def _digits(element: Element) -> str:
    content = [(child.tag, child.text, child.attrib) for child in element.iter()]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _consoles(devices: Element) -> None:
    serial = devices.find("serial")
    if serial is None or devices.find("console") is not None:
        return
    console = SubElement(devices, "console", type=serial.get("type", "pty"))
    console.extend(child for child in serial if child.tag != "target")
    SubElement(console, "target", type="serial", port="0")


def address(devices: Element, *, pcie: bool) -> None:
    """An index for each controller, then an address for each device that lacks one."""
    for kind in {each.get("type", "") for each in devices.iterfind("controller")}:
        _number(devices, kind)
    homeless = [each for each in devices if _needs_slot(each) and each.find("address") is None]
    place = _on_root_ports(devices) if pcie else _on_bus_zero(devices)
    for device in homeless:
        device.append(place())
    for port, channel in enumerate(devices.iterfind("channel"), start=1):
        if channel.find("address") is None:
            SubElement(channel, "address", type="virtio-serial", controller="0", bus="0", port=str(port))
    for unit, disk in enumerate(devices.iterfind("disk")):
        if disk.find("address") is None:
            SubElement(disk, "address", type="drive", controller="0", bus="0", target="0", unit=str(unit))


def _number(devices: Element, kind: str) -> None:
    controllers = devices.findall(f"controller[@type='{kind}']")
    used = {each.get("index") for each in controllers}
    free = (str(number) for number in count() if str(number) not in used)
    for controller in controllers:
        controller.set("index", controller.get("index") or next(free))


def _needs_slot(device: Element) -> bool:
    if device.tag == "controller":
        return device.get("type") in ("usb", "virtio-serial", "scsi")
    target = device.find("target")
    return device.tag in _ON_PCI or (device.tag == "disk" and target is not None and target.get("bus") == "virtio")


def _pci(bus: int, slot: int) -> Element:
    return Element("address", type="pci", domain="0x0000", bus=f"0x{bus:02x}", slot=f"0x{slot:02x}", function="0x0")


def _taken(devices: Element) -> Iterator[tuple[int, int]]:
    for found in devices.iterfind("*/address[@type='pci']"):
        yield int(found.get("bus", "0"), 16), int(found.get("slot", "0"), 16)


def _on_bus_zero(devices: Element) -> Callable[[], Element]:
    used = {slot for bus, slot in _taken(devices) if bus == 0}
    free = (slot for slot in count(2) if slot not in used)
    return lambda: _pci(0, next(free))


def _on_root_ports(devices: Element) -> Callable[[], Element]:
    """Each device sits alone behind a root port; missing ports are added."""
    used = {bus for bus, _ in _taken(devices)}
    free = (bus for bus in count(1) if bus not in used)

    def place() -> Element:
        bus = next(free)
        if devices.find(f"controller[@type='pci'][@index='{bus}']") is None:
            SubElement(devices, "controller", type="pci", index=str(bus), model="pcie-root-port")
        return _pci(bus, 0)

    return place


def _child(parent: Element, tag: str, text: str = "") -> Element:
    found = parent.find(tag)
    if found is None:
        found = SubElement(parent, tag)
        found.text = text
    return found


def sort(devices: Element) -> None:
    """By kind, as libvirt writes them."""
    devices[:] = sorted(devices, key=lambda each: _ORDER.index(each.tag) if each.tag in _ORDER else len(_ORDER))
