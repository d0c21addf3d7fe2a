"""What libvirt keeps of a VM beside its definition, and a move must not lose: snapshots, checkpoints, DHCP leases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.power import OFF, state
from novafleet.errors import HypervisorError
from novafleet.model.snapshot import SnapshotFlag

UNUSABLE = "NF-LV-171"
"""A bitmap that is not there, or was not closed cleanly."""


def name_of(xml: str) -> str:
    """What a snapshot or checkpoint is called."""
    return ElementTree.fromstring(xml).findtext("name", "").strip()


def relocated(xml: str, paths: Mapping[str, str]) -> str:
    """XML with every file that moved under its new path, in our own notes too."""
    root = ElementTree.fromstring(xml)
    for element in root.iter():
        for name, value in element.attrib.items():
            if value in paths:
                element.set(name, paths[value])
        element.text = _moved(element, paths)
    return ElementTree.tostring(root, encoding="unicode")


def _moved(element: ElementTree.Element, paths: Mapping[str, str]) -> str | None:
    text = element.text or ""
    if element.tag != "description":
        return paths.get(text.strip(), element.text)
    for was, now in paths.items():
        text = text.replace(f'"{was}"', f'"{now}"')
    return text or None


async def redefine_snapshots(end: End, domain: str, snapshots: Iterable[str], current: str) -> None:
    """Make libvirt know snapshots, parents first; those it knows are left alone."""
    known = {each.name for each in await end.hypervisor.snapshots(domain)}
    for xml in snapshots:
        if (name := name_of(xml)) not in known:
            flags = SnapshotFlag.REDEFINE | (SnapshotFlag.CURRENT if name == current else SnapshotFlag.NONE)
            await end.hypervisor.create_snapshot(domain, xml, flags)


async def current_snapshot(end: End, domain: str) -> str:
    """The one a domain is based on, "" for none."""
    return next((each.name for each in await end.hypervisor.snapshots(domain) if each.current), "")


async def redefine_checkpoints(end: End, domain: str, checkpoints: Sequence[str]) -> tuple[str, ...]:
    """Make libvirt know checkpoints whose bitmaps came along; the names of those whose did not: they are forgotten,
    and the next backup reads those disks whole."""
    running = await state(end, domain) not in OFF
    known = {each.name for each in await end.hypervisor.checkpoints(domain)}
    lost = []
    for xml in checkpoints:
        name = name_of(xml)
        if name in known:
            continue
        try:
            await end.hypervisor.redefine_checkpoint(domain, xml, validate=running)
        except HypervisorError as error:
            if error.code != UNUSABLE:
                raise
            lost.append(name)
    return tuple(lost)


async def change_leases(end: End, leases: Mapping[str, Sequence[str]], *, add: bool) -> None:
    """Add or delete DHCP leases, by network; a network that is not there any more has none."""
    for network, hosts in leases.items():
        for xml in hosts:
            await end.hypervisor.update_network_host(network, xml, add=add)
