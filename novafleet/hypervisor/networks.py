"""What is asked of networks and pools: functions that run in a worker."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.hypervisor.session import Handle, unless
from novafleet.hypervisor.translate import NO_NETWORK, NO_STORAGE_POOL, OPERATION_INVALID


def define(handle: Handle, xml: str) -> None:
    """Define or redefine, validated by libvirt's schema."""
    handle.connection.networkDefineXMLFlags(xml, handle.libvirt.VIR_NETWORK_DEFINE_VALIDATE)


def start(handle: Handle, name: str) -> None:
    """Start unless active."""
    network = _lookup(handle, name)
    if not network.isActive():
        with unless(handle, OPERATION_INVALID, lambda: bool(network.isActive())):
            network.create()


def stop(handle: Handle, name: str) -> None:
    """Stop if active."""
    network = _lookup(handle, name)
    if network.isActive():
        with unless(handle, OPERATION_INVALID, lambda: not network.isActive()):
            network.destroy()


def undefine(handle: Handle, name: str) -> None:
    """Forget; absent is fine."""
    with unless(handle, NO_NETWORK):
        _lookup(handle, name).undefine()


def set_autostart(handle: Handle, name: str, enabled: bool) -> None:
    """Start with the host, or not."""
    _lookup(handle, name).setAutostart(int(enabled))


def update_host(handle: Handle, name: str, xml: str, add: bool) -> None:
    """Add or delete a DHCP lease or DNS record, on each of definition and running network that needs it."""
    libvirt, network, entry = handle.libvirt, _lookup(handle, name), ElementTree.fromstring(xml)
    is_record = entry.find("hostname") is not None
    section = libvirt.VIR_NETWORK_SECTION_DNS_HOST if is_record else libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
    if is_record and not add:  # by its address: a name that two records have would be refused
        xml = ElementTree.tostring(Element("host", ip=entry.get("ip", "")), encoding="unicode")
    layers = [(libvirt.VIR_NETWORK_XML_INACTIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG)]
    if network.isActive():
        layers.append((0, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE))
    for reading, affect in layers:
        if has_entry(ElementTree.fromstring(network.XMLDesc(reading)), entry) != add:
            network.update(command, section, -1, xml, affect)


def has_entry(network: Element, entry: Element) -> bool:
    """Is exactly this DHCP lease or DNS record in the network?"""
    path = "ip/dhcp/host" if entry.find("hostname") is None else "dns/host"
    return any(_entry(each) == _entry(entry) for each in network.iterfind(path))


def _entry(host: Element) -> tuple[object, ...]:
    names = frozenset((name.text or "").strip() for name in host.iterfind("hostname"))
    return host.get("mac", "").lower(), host.get("ip", ""), host.get("name", ""), names


def _lookup(handle: Handle, name: str) -> Any:
    return handle.connection.networkLookupByName(name)


def ensure_pool(handle: Handle, name: str, path: str) -> None:
    """A started, autostarted pool of that name: an existing definition is kept, a half-made one finished."""
    pool: Any = None
    with unless(handle, NO_STORAGE_POOL):
        pool = handle.connection.storagePoolLookupByName(name)
    if pool is None:
        pool = handle.connection.storagePoolDefineXML(pool_xml(name, path))
    if not pool.isActive():
        pool.build()
        with unless(handle, OPERATION_INVALID, lambda: bool(pool.isActive())):
            pool.create()
        pool.setAutostart(1)


def pool_xml(name: str, path: str) -> str:
    """A directory pool (https://libvirt.org/formatstorage.html)."""
    pool = Element("pool", type="dir")
    SubElement(pool, "name").text = name
    SubElement(SubElement(pool, "target"), "path").text = path
    return ElementTree.tostring(pool, encoding="unicode")


def refresh_pool(handle: Handle, name: str) -> None:
    """Make libvirt read the directory again."""
    handle.connection.storagePoolLookupByName(name).refresh()
