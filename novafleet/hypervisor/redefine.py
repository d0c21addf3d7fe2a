"""Changes of definitions other than their devices, with libvirt's refusals: the fake's. Pure, trees in place."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from copy import deepcopy
from ipaddress import IPv4Interface, IPv4Network
from xml.etree.ElementTree import Element, SubElement

from novafleet.hypervisor import rewrite, translate
from novafleet.hypervisor.plug import Refusal


def identify(root: Element, kind: str, existing: Mapping[str, Element]) -> str:
    """The name of a new definition, its UUID made up if need be; refuses one of two that is taken by another."""
    name, found = root.findtext("name", "").strip(), root.find("uuid")
    if found is None:
        found = SubElement(root, "uuid")
        found.text = str(uuid.uuid4())
    for other, tree in existing.items():
        same_name, same_uuid = other == name, _uuid(tree) == _uuid(root)
        if same_name != same_uuid:
            words = "already exists with uuid" if same_name else "is already defined with uuid"
            text = f"operation failed: {kind} '{other}' {words} {_uuid(tree)}"
            raise Refusal(translate.OPERATION_FAILED, text)
    return name


def set_memory(tree: Element, kib: int, *, maximum: bool) -> None:
    """The balloon's size, and with ``maximum`` what the guest boots with. Raises Refusal beyond it."""
    memory, current = tree.find("memory"), tree.find("currentMemory")
    assert memory is not None
    assert current is not None
    if maximum:
        rewrite.set_kib(memory, kib)
    if kib > int(memory.text or 0):
        raise Refusal(translate.INVALID_ARG, "invalid argument: cannot set memory higher than max memory")
    rewrite.set_kib(current, kib)


def set_vcpus(tree: Element, count: int, *, maximum: bool) -> None:
    """CPUs plugged in, and with ``maximum`` how many there can be. Raises Refusal beyond it."""
    vcpu = tree.find("vcpu")
    assert vcpu is not None
    if maximum:
        vcpu.text = str(count)
    limit = int(vcpu.text or 1)
    if count > limit:
        text = f"invalid argument: requested vcpus is greater than max allowable vcpus: {count} > {limit}"
        raise Refusal(translate.INVALID_ARG, text)
    vcpu.attrib.pop("current", None)
    if count < limit:
        vcpu.set("current", str(count))


def set_metadata(tree: Element, element: Element, uri: str) -> None:
    """Put the element in place of what ``uri`` has."""
    metadata = tree.find("metadata")
    if metadata is None:
        metadata = SubElement(tree, "metadata")
    metadata[:] = [each for each in metadata if not each.tag.startswith(f"{{{uri}}}")] + [deepcopy(element)]


def change_entry(tree: Element, entry: Element, *, add: bool) -> None:
    """Add or delete a DHCP lease or DNS record. Raises Refusal for an addition that another entry contradicts."""
    is_record = entry.find("hostname") is not None
    parent = _dns(tree) if is_record else tree.find("ip/dhcp")
    if parent is None:
        text = "Requested operation is not valid: dhcp is not supported on this network"
        raise Refusal(translate.OPERATION_INVALID, text)
    keys = ("ip",) if is_record else ("mac", "ip", "name")
    same = [
        each
        for each in parent.iterfind("host")
        if any(entry.get(key) and each.get(key) == entry.get(key) for key in keys)
    ]
    if add and same:
        text = (
            "there is an existing dhcp host entry" if not is_record else "there is already at least one DNS HOST record"
        )
        raise Refusal(translate.OPERATION_INVALID, f"Requested operation is not valid: {text} in network")
    if add:
        parent.append(deepcopy(entry))
    for each in () if add else same:
        parent.remove(each)


def _dns(tree: Element) -> Element:
    found = tree.find("dns")
    return SubElement(tree, "dns") if found is None else found


def need_subnet(network: Element, active: Iterable[Element]) -> None:
    """Raise Refusal where an active network has a subnet of this one."""
    for other in active:
        if any(a.overlaps(b) for a in _subnets(network) for b in _subnets(other)):
            bridge = other.find("bridge")
            name = bridge.get("name") if bridge is not None else ""
            raise Refusal(translate.INTERNAL_ERROR, f"internal error: Network is already in use by interface {name}")


def _subnets(network: Element) -> list[IPv4Network]:
    found = [ip for ip in network.iterfind("ip") if ip.get("family", "ipv4") == "ipv4"]
    return [IPv4Interface(f"{ip.get('address')}/{ip.get('netmask') or ip.get('prefix')}").network for ip in found]


def _uuid(tree: Element) -> str:
    return tree.findtext("uuid", "").strip().lower()
