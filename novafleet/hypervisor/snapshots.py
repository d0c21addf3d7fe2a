"""What is asked of a domain's snapshots: functions that run in a worker."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from novafleet.hypervisor.domains import lookup
from novafleet.hypervisor.session import Handle, unless
from novafleet.hypervisor.translate import NO_SNAPSHOT
from novafleet.model.snapshot import DomainSnapshot, SnapshotFlag

WORDS = {
    SnapshotFlag.DISK_ONLY: "DISK_ONLY",
    SnapshotFlag.LIVE: "LIVE",
    SnapshotFlag.QUIESCE: "QUIESCE",
    SnapshotFlag.ATOMIC: "ATOMIC",
    SnapshotFlag.REUSE: "REUSE_EXT",
    SnapshotFlag.REDEFINE: "REDEFINE",
    SnapshotFlag.CURRENT: "CURRENT",
    SnapshotFlag.HALT: "HALT",
}


def running_xml(handle: Handle, name: str) -> str:
    """The XML of what runs; empty when it is off."""
    domain = lookup(handle, name)
    return domain.XMLDesc(0) if domain.isActive() else ""


def listing(handle: Handle, name: str) -> tuple[DomainSnapshot, ...]:
    """All snapshots, parents first."""
    domain = lookup(handle, name)
    current = domain.snapshotCurrent(0).getName() if domain.hasCurrentSnapshot(0) else ""
    found = domain.listAllSnapshots(handle.libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
    return tuple(_fact(each.getXMLDesc(0), current) for each in found)


def fact(snapshot: Any) -> DomainSnapshot:
    """One virDomainSnapshot."""
    xml = snapshot.getXMLDesc(0)
    return _fact(xml, snapshot.getName() if snapshot.isCurrent(0) else "")


def _fact(xml: str, current: str) -> DomainSnapshot:
    root = ElementTree.fromstring(xml)
    name = root.findtext("name", "")
    return DomainSnapshot(
        name=name,
        parent=root.findtext("parent/name", ""),
        state=root.findtext("state", ""),
        created=int(root.findtext("creationTime", "0")),
        xml=xml,
        current=name == current,
        description=root.findtext("description", ""),
    )


def create(handle: Handle, name: str, xml: str, flags: SnapshotFlag) -> DomainSnapshot:
    """Make one."""
    number = sum(getattr(handle.libvirt, f"VIR_DOMAIN_SNAPSHOT_CREATE_{WORDS[each]}") for each in flags)
    return fact(lookup(handle, name).snapshotCreateXML(xml, number))


def revert(handle: Handle, name: str, snapshot: str, wishes: tuple[str, ...]) -> None:
    """Go back to it; ``wishes`` of RUNNING, PAUSED, FORCE."""
    domain = lookup(handle, name)
    number = sum(getattr(handle.libvirt, f"VIR_DOMAIN_SNAPSHOT_REVERT_{each}") for each in wishes)
    domain.revertToSnapshot(domain.snapshotLookupByName(snapshot, 0), number)


def delete(handle: Handle, name: str, snapshot: str, wishes: tuple[str, ...]) -> None:
    """Remove it; ``wishes`` of CHILDREN, METADATA_ONLY; absent is fine."""
    domain = lookup(handle, name)
    number = sum(getattr(handle.libvirt, f"VIR_DOMAIN_SNAPSHOT_DELETE_{each}") for each in wishes)
    with unless(handle, NO_SNAPSHOT):
        domain.snapshotLookupByName(snapshot, 0).delete(number)
