"""Which devices to plug in, out or over so that a running guest gets the disks and NICs of a new definition. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.capability.vm.shape import disk_name, nic_name


class Verb(StrEnum):
    """What is done with a device."""

    DETACH = "detach"
    ATTACH = "attach"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Plug:
    """One device change; ``xml`` is the device's element."""

    verb: Verb
    name: str
    xml: str


def plugs(before: str, after: str) -> tuple[Plug, ...]:
    """Device changes from one domain XML to another, removals first (they free addresses)."""
    old, new = _devices(before), _devices(after)
    return (
        *(_plug(Verb.DETACH, name, old[name]) for name in old if name not in new),
        *(_plug(Verb.ATTACH, name, new[name]) for name in new if name not in old),
        *(_plug(Verb.UPDATE, name, new[name]) for name in new if name in old and _moved(old[name], new[name])),
    )


def names(text: str) -> frozenset[str]:
    """The disks and NICs of a domain XML, named as in ``Plug``."""
    return frozenset(_devices(text))


def _devices(text: str) -> Mapping[str, Element]:
    return dict(_named(ElementTree.fromstring(text)))


def _named(domain: Element) -> Iterator[tuple[str, Element]]:
    for disk in domain.iterfind("devices/disk"):
        if disk.get("device", "disk") == "disk":
            yield f"disk {disk_name(disk)}", disk
    for nic in domain.iterfind("devices/interface"):
        yield f"NIC {nic_name(nic)}", nic


def _moved(old: Element, new: Element) -> bool:
    """Is a NIC to be in another network? Nothing else of a device changes while its guest runs."""
    return new.tag == "interface" and (_network(old) != _network(new))


def _network(nic: Element) -> tuple[str, str]:
    kind = nic.get("type", "")
    source = nic.find("source")
    return kind, source.get(kind, "") if source is not None else ""


def _plug(verb: Verb, name: str, device: Element) -> Plug:
    if verb is Verb.ATTACH:  # libvirt takes no boot order twice, and what runs has booted
        for order in device.findall("boot"):
            device.remove(order)
    return Plug(verb, name, ElementTree.tostring(device, encoding="unicode"))
