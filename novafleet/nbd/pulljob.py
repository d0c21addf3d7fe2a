"""The XML that asks libvirt to export a running guest's disks: a pull-mode backup job, and its checkpoint. Trees.

Formats: https://libvirt.org/formatbackup.html, formatcheckpoint.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

EXPORT_BITMAP = "changes"
"""Name under which the export tells what changed: NBD context ``qemu:dirty-bitmap:changes``."""

HOMES = "/var/lib/libvirt/qemu"
SHORT = 20
"""Characters of a name in what libvirt calls a running domain's files (``VIR_DOMAIN_SHORT_NAME_MAX``)."""


def home_of(number: str, name: str) -> str:
    """Where the QEMU of a running domain may make sockets, whatever confines it. Told by its name, too: directories of
    domains that had its number before stay when their host loses power."""
    return f"{HOMES}/domain-{number}-{name[:SHORT]}"


@dataclass(frozen=True, slots=True)
class JobDisk:
    """One disk of a job. ``since``: the checkpoint whose changes are exported, empty for everything; ``scratch``: where
    QEMU keeps what the guest overwrites meanwhile; ``mark``: the new checkpoint records its changes."""

    target: str
    scratch: str
    since: str = ""
    mark: bool = True


def backup_xml(disks: Sequence[JobDisk], others: Sequence[str], socket: str) -> str:
    """A pull job that exports ``disks`` at a UNIX socket, each under its target, and leaves ``others`` out."""
    root = Element("domainbackup", mode="pull")
    SubElement(root, "server", transport="unix", socket=socket)
    listed = SubElement(root, "disks")
    for disk in disks:
        _job_disk(listed, disk)
    for target in others:
        SubElement(listed, "disk", name=target, backup="no")
    return ElementTree.tostring(root, encoding="unicode")


def _job_disk(listed: Element, disk: JobDisk) -> None:
    names = {"name": disk.target, "backup": "yes", "type": "file", "exportname": disk.target}
    how = {"backupmode": "full"}
    if disk.since:
        how = {"backupmode": "incremental", "incremental": disk.since, "exportbitmap": EXPORT_BITMAP}
    element = SubElement(listed, "disk", {**names, **how})
    SubElement(element, "driver", type="qcow2")
    SubElement(element, "scratch", file=disk.scratch)


def checkpoint_xml(name: str, marked: Sequence[str], others: Sequence[str]) -> str:
    """A checkpoint with a bitmap on the ``marked`` disks only."""
    root = Element("domaincheckpoint")
    SubElement(root, "name").text = name
    listed = SubElement(root, "disks")
    for target in marked:
        SubElement(listed, "disk", name=target, checkpoint="bitmap")
    for target in others:
        SubElement(listed, "disk", name=target, checkpoint="no")
    return ElementTree.tostring(root, encoding="unicode")
