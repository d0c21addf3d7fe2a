"""The definition of a VM as its destination gets it: the same guest, on that host's files and networks. Pure.

Format: https://libvirt.org/formatdomain.html, formatcaps.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import basename
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.migration.look import host_of
from novafleet.errors import MigrationError, Retry
from novafleet.model.migration import Move, MoveDisk
from novafleet.plan.elsewhere import fit_machine, for_older_libvirt

FILE_OF = {"block": "dev"}
"""Kinds of disks whose source is not called ``file``."""

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")


def arriving(move: Move, xml: str) -> str:
    """``xml`` (``move.xml``, or what runs) with the destination's paths of disks and files and the networks of
    ``move.wanted.networks``. Nothing a running guest would notice changes. Raises MigrationError NF-MIG-404 for what
    is no definition."""
    root = _parse(xml)
    root.attrib.pop("id", None)
    disks = {disk.target: disk for disk in move.disks}
    files = {each.source: each.path for each in move.files}
    for element in root.iterfind("devices/disk"):
        target = element.find("target")
        disk = disks.get(target.get("dev", "")) if target is not None else None
        if disk is not None:
            _put(element, disk)
        else:
            _medium(element, files)
    for tag in ("kernel", "initrd", "dtb", "nvram"):
        _text(root.find(f"os/{tag}"), files)
    for table in root.iterfind("os/acpi/table"):
        _text(table, files)
    for named in (*root.iterfind("sysinfo/entry"), *root.iterfind("devices/interface/rom")):
        _replace(named, ("file",), files)
    _replace(root.find("os/nvram/source"), ("file",), files)
    _replace(root.find("devices/tpm/backend/source"), ("path",), files)
    for nic in root.iterfind("devices/interface"):
        _connect(nic, move.wanted.networks)
    return ElementTree.tostring(root, encoding="unicode")


def booting(xml: str, capabilities: str) -> str:
    """The definition as a host of these capabilities can boot it: for a guest that was off, or restarts there anyway.

    Raises MigrationError NF-MIG-405 when it has no such machine type, nor one of its kind."""
    root = _parse(xml)
    for_older_libvirt(root)
    kind = root.find("os/type")
    _, machines = host_of(capabilities, kind.get("arch", "") if kind is not None else "")
    if machines:
        try:
            fit_machine(root, machines)
        except LookupError as error:
            raise MigrationError(
                f"the destination's QEMU has no machine type {error.args[0]}",
                code="NF-MIG-405",
                hints=("choose a host with a newer QEMU", f"or an older type: virsh edit {root.findtext('name', '')}"),
                retry=Retry.AFTER_FIX,
            ) from error
    return ElementTree.tostring(root, encoding="unicode")


def _parse(xml: str) -> Element:
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise MigrationError("libvirt's XML cannot be read", code="NF-MIG-404", cause=str(exc)) from exc


def _put(element: Element, disk: MoveDisk) -> None:
    """The disk on its file of the destination; a volume of a pool becomes one too."""
    pooled = element.get("type") == "volume" and disk.path
    if disk.shared and disk.path == disk.source and not pooled:
        return
    if element.get("type") == "volume":
        element.set("type", "file")
    for stale in element.findall("backingStore"):
        element.remove(stale)
    source = element.find("source")
    if source is None:
        source = SubElement(element, "source")
    for name in ("pool", "volume", "index"):
        source.attrib.pop(name, None)
    source.set(FILE_OF.get(element.get("type", ""), "file"), disk.path)
    driver = element.find("driver")
    if driver is not None:
        driver.set("type", disk.format)


def _medium(element: Element, files: Mapping[str, str]) -> None:
    """A medium on its file of the destination, which may have no pool of that name."""
    source = element.find("source")
    _replace(source, ("file", "dev"), files)
    if source is None or element.get("type") != "volume":
        return
    path = next((now for was, now in files.items() if basename(was) == source.get("volume")), "")
    if path:
        element.set("type", "file")
        for name in ("pool", "volume", "index"):
            source.attrib.pop(name, None)
        source.set("file", path)


def _connect(nic: Element, networks: Mapping[str, str]) -> None:
    """What a running guest's network is made of here (``bridge``, ``dev``, ``portid``) says nothing of the other's."""
    source = nic.find("source")
    if source is not None and source.get("network", "") in networks:
        nic.set("type", "network")
        for name in ("bridge", "dev", "mode", "portid"):
            source.attrib.pop(name, None)
    _replace(source, ("network", "bridge", "dev"), networks)
    if nic.get("type") == "ethernet":
        _replace(nic.find("target"), ("dev",), networks)


def _replace(element: Element | None, names: tuple[str, ...], instead: Mapping[str, str]) -> None:
    for name in names:
        if element is not None and element.get(name, "") in instead:
            element.set(name, instead[element.get(name, "")])


def _text(element: Element | None, instead: Mapping[str, str]) -> None:
    text = (element.text or "").strip() if element is not None else ""
    if element is not None and text in instead:
        element.text = instead[text]
