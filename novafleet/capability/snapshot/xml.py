"""Disks in a domain's XML, and the XML of a snapshot, built and read as trees.

Formats: https://libvirt.org/formatdomain.html, https://libvirt.org/formatsnapshot.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.errors import SnapshotError
from novafleet.plan.firmware import tpm_state, variables

DISK_ALIAS = "ua-disk-"
"""What ``capability/vm/devices.py`` names the disks of an environment's VM."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk a guest can write to. ``path`` is empty for one that is no file on the host; ``chain`` are the images
    under it, as far as the XML tells; ``mirror`` is where an active commit leads to."""

    target: str
    name: str
    kind: str
    path: str
    format: str
    chain: tuple[str, ...] = ()
    mirror: str = ""
    encrypted: bool = False


def parse(text: str) -> Element:
    """The tree. Raises SnapshotError NF-SNAP-001 for what is no XML."""
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as exc:
        raise SnapshotError("libvirt's XML cannot be read", cause=str(exc)) from exc


def text_of(tree: Element) -> str:
    """The tree as text."""
    return ElementTree.tostring(tree, encoding="unicode")


def disks(domain: Element) -> tuple[Disk, ...]:
    """What a snapshot must hold of a definition: its disks, without those that are read-only or shared."""
    return tuple(_disk(each) for each in _written(domain))


def _written(domain: Element) -> Iterator[Element]:
    for disk in domain.iterfind("devices/disk"):
        kept = any(disk.find(tag) is not None for tag in ("readonly", "shareable"))
        if disk.get("device", "disk") in ("disk", "lun") and not kept:
            yield disk


def others(domain: Element) -> tuple[str, ...]:
    """The targets of all other drives: libvirt lays overlays over those that are not listed too, shareable or not."""
    targets = [_attribute(each, "target", "dev") for each in domain.iterfind("devices/disk")]
    return tuple(sorted({*targets} - {each.target for each in disks(domain)} - {""}))


def _disk(disk: Element) -> Disk:
    alias, target = _attribute(disk, "alias", "name"), _attribute(disk, "target", "dev")
    ours = alias.startswith(DISK_ALIAS)
    return Disk(
        target=target,
        name=alias.removeprefix(DISK_ALIAS) if ours else target,
        kind=disk.get("type", ""),
        path=_attribute(disk, "source", "file"),
        format=_attribute(disk, "driver", "type") or "raw",
        chain=tuple(_chain(disk)),
        mirror=_attribute(disk, "mirror/source", "file"),
        encrypted=disk.find("encryption") is not None or disk.find("source/encryption") is not None,
    )


def _chain(disk: Element) -> Iterator[str]:
    store = disk.find("backingStore")
    while store is not None:
        if path := _attribute(store, "source", "file"):
            yield path
        store = store.find("backingStore")


def _attribute(element: Element, path: str, name: str) -> str:
    found = element.find(path)
    return found.get(name, "") if found is not None else ""


def extras(domain: Element) -> tuple[str, ...]:
    """What is part of a VM beside its disks: the file of its UEFI variables, the directory of its emulated TPM."""
    return tuple(path for path in (variables(domain), tpm_state(domain)) if path)


def definition(snapshot: Element) -> Element:
    """The domain as it would have started at the snapshot's moment; an empty one when the snapshot does not tell."""
    found = snapshot.find("inactiveDomain")
    if found is None:
        found = snapshot.find("domain")
    domain = deepcopy(found) if found is not None else Element("domain")
    domain.tag = "domain"
    return domain


def running(snapshot: Element) -> Element:
    """The domain as it ran at the snapshot's moment: what saved memory fits."""
    found = snapshot.find("domain")
    return deepcopy(found) if found is not None else Element("domain")


def contents(snapshot: Element) -> Mapping[str, Disk]:
    """By target, the disk whose image holds what the snapshot saved: the one an external overlay was laid over."""
    external = {each.get("name", "") for each in snapshot.iterfind("disks/disk[@snapshot='external']")}
    return {each.target: each for each in disks(definition(snapshot)) if each.target in external}


def inside(snapshot: Element) -> Mapping[str, Disk]:
    """By target, the disk in whose image a snapshot lies that has no overlays."""
    internal = {each.get("name", "") for each in snapshot.iterfind("disks/disk[@snapshot='internal']")}
    return {each.target: each for each in disks(definition(snapshot)) if each.target in internal}


def kind(snapshot: Element) -> str:
    """``external``, ``internal`` or, for no disk at all, ``none``."""
    kinds = {each.get("snapshot", "") for each in snapshot.iterfind("disks/disk")} - {"no"}
    return "external" if "external" in kinds else "internal" if kinds else "none"


def memory(snapshot: Element) -> str:
    """The file the guest's memory was saved to; empty without one."""
    return _attribute(snapshot, "memory[@snapshot='external']", "file")


def snapshot(name: str, description: str, overlays: Mapping[str, str], others: tuple[str, ...], saved: str) -> Element:
    """Asks for an overlay of each disk in ``overlays`` (path by target), and for memory in the file ``saved``."""
    root = Element("domainsnapshot")
    SubElement(root, "name").text = name
    SubElement(root, "description").text = description
    if saved:
        SubElement(root, "memory", snapshot="external", file=saved)
    listed = SubElement(root, "disks")
    for target, path in overlays.items():
        disk = SubElement(listed, "disk", name=target, snapshot="external", type="file")
        SubElement(disk, "driver", type="qcow2")
        SubElement(disk, "source", file=path)
    for target in others:
        SubElement(listed, "disk", name=target, snapshot="no")
    return root


def internal(name: str, description: str, targets: Iterable[str], others: Iterable[str] = ()) -> Element:
    """Asks for a snapshot inside the images, with the memory of a guest that runs."""
    root = Element("domainsnapshot")
    SubElement(root, "name").text = name
    SubElement(root, "description").text = description
    listed = SubElement(root, "disks")
    for target in targets:
        SubElement(listed, "disk", name=target, snapshot="internal")
    for target in others:
        SubElement(listed, "disk", name=target, snapshot="no")
    return root


def record(asked: Element, domain: Element, parent: str, created: int) -> Element:
    """A snapshot of a VM that was off, as libvirt would have recorded it, for a redefinition."""
    root = deepcopy(asked)
    if parent:
        SubElement(SubElement(root, "parent"), "name").text = parent
    SubElement(root, "state").text = "shutoff"
    SubElement(root, "creationTime").text = str(created)
    SubElement(root, "memory", snapshot="no")
    root.append(domain)
    return root


def described(snapshot: Element, description: str) -> Element:
    """The snapshot with another description."""
    root = deepcopy(snapshot)
    found = root.find("description")
    if found is None:
        found = SubElement(root, "description")
    found.text = description
    return root


def on_images(domain: Element, images: Mapping[str, tuple[str, str]]) -> Element:
    """The definition with disks on other images: (path, format) by target."""
    root = deepcopy(domain)
    for disk in _written(root):
        image = images.get(_attribute(disk, "target", "dev"))
        if image is not None:
            _put(disk, *image)
    return root


def recorded_on(snapshot: Element, images: Mapping[str, tuple[str, str]]) -> Element:
    """The snapshot's record saying that it is held by images (path, format) by target."""
    root = deepcopy(snapshot)
    for tag in ("domain", "inactiveDomain"):
        for disk in root.iterfind(f"{tag}/devices/disk"):
            image = images.get(_attribute(disk, "target", "dev"))
            if image is not None:
                _put(disk, *image)
    return root


def _put(disk: Element, path: str, form: str) -> None:
    for stale in ("backingStore", "mirror"):
        for found in disk.findall(stale):
            disk.remove(found)
    for tag, attribute, value in (("source", "file", path), ("driver", "type", form)):
        found_one = disk.find(tag)
        if found_one is None:
            found_one = SubElement(disk, tag)
        found_one.set(attribute, value)
        if tag == "source":
            found_one.attrib.pop("index", None)
