"""Addresses of its host that a definition listens on: displays, and consoles on TCP or UDP. IPv4. Pure.

Format: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from xml.etree.ElementTree import Element

CHARACTER = ("serial", "parallel", "console", "channel")


def listens(domain: Element) -> frozenset[str]:
    """Without those every host has."""
    return frozenset(element.get(name, "") for element, name in _listens(domain))


def unlisten(domain: Element, addresses: Collection[str]) -> tuple[str, ...]:
    """Let it listen on the loopback address where a host with these addresses does not have its own; what that was."""
    found = [(element, name) for element, name in _listens(domain) if addresses and element.get(name) not in addresses]
    gone = dict.fromkeys(element.get(name, "") for element, name in found)
    for element, name in found:
        element.set(name, "127.0.0.1")
    return tuple(gone)


def _listens(domain: Element) -> Iterator[tuple[Element, str]]:
    for element, name in _all(domain):
        if _own(element.get(name, "")):
            yield element, name


def _all(domain: Element) -> Iterator[tuple[Element, str]]:
    for graphics in domain.iterfind("devices/graphics"):
        told = graphics.findall("listen")
        yield from ((each, "address") for each in told if each.get("type") == "address")
        if all(each.get("type") == "address" for each in told):  # else libvirt tells a network's or none
            yield graphics, "listen"
    for tag in CHARACTER:
        for device in domain.iterfind(f"devices/{tag}"):
            if device.get("type") in ("tcp", "udp"):
                yield from ((source, "host") for source in device.iterfind("source[@mode='bind']"))


def _own(address: str) -> bool:
    try:
        found = IPv4Address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified)
