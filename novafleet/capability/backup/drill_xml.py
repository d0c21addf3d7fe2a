"""The isolated networks of a drill: addresses as at home, and no way out. Pure.

Format: https://libvirt.org/formatnetwork.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.backup.xml import parse


def drill_network(domain: str, network: str) -> str:
    """The name of the network a drill has instead of another; also its bridge's: it fits the kernel's 15 characters."""
    return f"nfd-{hashlib.sha256(f'{domain}/{network}'.encode()).hexdigest()[:10]}"


def isolated(name: str, original: str, taken: Iterable[str]) -> str:
    """A network that leads nowhere, with the original's IPv4 address and leases unless the host has such addresses
    (``taken``, each with its prefix length) already. ``original`` is empty for what was not kept, such as a bridge."""
    root = Element("network")
    SubElement(root, "name").text = name
    SubElement(root, "bridge", name=name, stp="off", delay="0")
    used = [net for each in taken if (net := _subnet(each))]
    for ip in parse(original).findall("ip") if original else ():
        net = _subnet(f"{ip.get('address', '')}/{ip.get('netmask') or ip.get('prefix', '')}")
        if net is not None and not any(net.overlaps(other) for other in used):
            root.append(ip)
    return ElementTree.tostring(root, encoding="unicode")


def _subnet(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:  # IPv6, or no address at all
        return None
