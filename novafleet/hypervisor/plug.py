"""Devices into and out of a definition, with the refusals of libvirt's QEMU driver: the fake's. Pure, trees edited."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.hypervisor import rewrite
from novafleet.hypervisor.translate import (
    CONFIG_UNSUPPORTED,
    DEVICE_MISSING,
    OPERATION_FAILED,
    OPERATION_INVALID,
    XML_ERROR,
    Failure,
)


class Refusal(Exception):
    """What a libvirtError would say."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(number, 0, message)


def parse(xml: str, tag: str = "") -> Element:
    """An element. Raises Refusal as libvirt's parser does."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise Refusal(XML_ERROR, f"XML error: {exc}") from exc
    if tag and root.tag != tag:
        raise Refusal(XML_ERROR, f"XML error: expecting root element of '{tag}', not '{root.tag}'")
    return root


def verify(domain: Element) -> None:
    """Raise Refusal for a domain definition libvirt would not take."""
    if not domain.findtext("name", "").strip():
        raise Refusal(XML_ERROR, "missing name information")
    if domain.find("memory") is None:
        raise Refusal(XML_ERROR, "XML error: Memory size must be specified via <memory>")
    if domain.find("os/type") is None:
        raise Refusal(XML_ERROR, "XML error: an os <type> must be specified")
    first = domain.find("devices/controller[@type='pci']")
    if first is not None and not first.get("index") and not first.get("model", "").endswith("-root"):
        text = f"must be model='pcie-root' for this machine type, but model='{first.get('model')}' was found instead"
        raise Refusal(XML_ERROR, f"XML error: The PCI controller with index='0' {text}")
    for alias, times in Counter(_aliases(domain)).items():
        if times > 1:
            raise Refusal(CONFIG_UNSUPPORTED, f"unsupported configuration: non unique alias detected: {alias}")
    targets = Counter(_attribute(disk, "target", "dev") for disk in domain.iterfind("devices/disk"))
    for target, times in targets.items():
        if times > 1:
            raise Refusal(XML_ERROR, f"XML error: target '{target}' duplicated for disk sources")


def _aliases(domain: Element) -> list[str]:
    return [each.get("name", "") for each in domain.iterfind("devices/*/alias")]


def insert(domain: Element, device: Element) -> None:
    """Add a device, completed. Raises Refusal when its target or alias is taken."""
    devices, target = _devices(domain), _attribute(device, "target", "dev")
    if device.tag == "disk" and any(_attribute(disk, "target", "dev") == target for disk in devices.iterfind("disk")):
        raise Refusal(OPERATION_INVALID, f"Requested operation is not valid: target {target} already exists")
    added = deepcopy(device)
    rewrite.complete(added)
    devices.append(added)
    verify(domain)
    machine = domain.find("os/type")
    rewrite.address(devices, pcie=machine is not None and "q35" in machine.get("machine", ""))
    rewrite.sort(devices)


def remove(domain: Element, device: Element) -> None:
    """Take a device out. Raises Refusal when it is not there."""
    _devices(domain).remove(_find(domain, device))


def change(domain: Element, device: Element) -> None:
    """Replace what may be changed in place: a NIC's or a disk's other side. It stays in its slot."""
    old = _find(domain, device)
    new = deepcopy(device)
    rewrite.complete(new)
    for kept in ("address", "model", "driver", "target"):
        here = old.find(kept)
        if here is not None and new.find(kept) is None:
            new.append(here)
    if device.tag == "disk" and _attribute(old, "target", "bus") != _attribute(new, "target", "bus"):
        raise Refusal(OPERATION_FAILED, "operation failed: cannot modify field 'bus' of the disk")
    devices = _devices(domain)
    devices[list(devices).index(old)] = new


def _find(domain: Element, device: Element) -> Element:
    for candidate in _devices(domain).iterfind(device.tag):
        if _same(candidate, device):
            return candidate
    raise Refusal(DEVICE_MISSING, f"device not found: no matching {device.tag} was found")


def _same(candidate: Element, device: Element) -> bool:
    if device.tag == "disk":
        return _attribute(candidate, "target", "dev") == _attribute(device, "target", "dev")
    if device.tag == "interface":
        alias = _attribute(device, "alias", "name")
        return _attribute(candidate, "mac", "address").lower() == _attribute(device, "mac", "address").lower() and (
            not alias or alias == _attribute(candidate, "alias", "name")
        )
    return _covers(candidate, device)


def _covers(candidate: Element, wanted: Element) -> bool:
    """Has it every attribute, text and child that is asked for?"""
    if any(candidate.get(name) != value for name, value in wanted.attrib.items()):
        return False
    if (wanted.text or "").strip() not in ("", (candidate.text or "").strip()):
        return False
    return all(any(_covers(each, child) for each in candidate.iterfind(child.tag)) for child in wanted)


def _devices(domain: Element) -> Element:
    devices = domain.find("devices")
    assert devices is not None
    return devices


def _attribute(device: Element, path: str, name: str) -> str:
    found = device.find(path)
    return found.get(name, "") if found is not None else ""
