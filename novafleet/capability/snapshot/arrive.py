"""A definition and the records of snapshots out of an archive, made to fit where the VM is now. Pure; trees.

An archive may come from anywhere: of what its definition names on a host nothing is taken but what it brought along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.snapshot import note, xml
from novafleet.capability.snapshot.manifest import Manifest, SnapshotPart
from novafleet.plan.firmware import TPM_STATE
from novafleet.plan.storage import OVERLAY

Images = Mapping[str, tuple[str, str]]
"""Path and format by target."""
Fit = Callable[[str, Images], str]
"""Makes a definition fit the host and the new name, its disks on these images."""
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
REMOVABLE = ("cdrom", "floppy")
LOST = "memory: it fits no VM with another UUID"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a VM goes: ``stems`` by target are the paths of the disks' own images, ``folder`` is unpacked into.
    ``copy``: it gets another identity."""

    name: str
    folder: str
    stems: Mapping[str, str]
    copy: bool = False
    free: int = 0

    def final(self, manifest: Manifest, member: str) -> tuple[str, str]:
        """Path and format of an image."""
        image = manifest.image(member)
        below = f".base{image.base}" if image.base else ""
        return self.stems[image.target] + (f".nf-{image.token}" if image.token else below), image.format

    def images(self, manifest: Manifest, members: Mapping[str, str]) -> Images:
        """Path and format by target; a disk without a member is on its own image."""
        found = {image.target: self.final(manifest, image.part.member) for image in manifest.images if not image.base}
        own = {
            image.target: self.final(manifest, image.part.member)
            for image in manifest.images
            if not image.base and not image.token
        }
        return {**found, **own, **{target: self.final(manifest, member) for target, member in members.items()}}

    def memory(self, part: SnapshotPart) -> str:
        """Where saved memory lies; empty where it cannot be used."""
        return f"{self.stems[min(self.stems)]}.nf-{part.token}.mem" if part.memory and not self.copy else ""


@dataclass(frozen=True, slots=True)
class Closed:
    """A definition that reaches nothing of a host but by what is left in it, and what was taken out."""

    xml: str
    notes: tuple[str, ...] = field(default=())


def closed(definition: str, targets: frozenset[str]) -> Closed:
    """Without disks the archive does not have, devices and folders of a host, programs to run there. Raises
    SnapshotError NF-SNAP-001 for what is no XML."""
    root = xml.parse(definition)
    notes = (*_close_disks(root, targets), *_close_devices(root))
    return Closed(xml.text_of(root), notes)


def _close_disks(root: Element, targets: frozenset[str]) -> Iterator[str]:
    devices = root.find("devices")
    for disk in list(devices.iterfind("disk")) if devices is not None else []:
        target = disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        source = disk.find("source")
        if name in targets or (disk.get("device") in REMOVABLE and source is None):
            continue
        if disk.get("device") in REMOVABLE and source is not None:
            disk.remove(source)
            yield f"{name}: a {disk.get('device')} is not part of an archive: it is empty"
        elif devices is not None:
            devices.remove(disk)
            yield f"{name}: this disk is not part of the archive: it is left out"


def _close_devices(root: Element) -> Iterator[str]:
    devices = root.find("devices")
    for tag in ("filesystem", "hostdev", "shmem"):
        for device in list(devices.iterfind(tag)) if devices is not None else []:
            devices.remove(device)  # type: ignore[union-attr]
            yield f"a {tag} of the old host is left out"
    for program in list(root.iterfind("devices/interface")):
        for script in program.findall("script"):
            program.remove(script)
            yield "the script of a NIC is left out"
    for tag in ("commandline", "override"):
        for found in root.findall(QEMU + tag):
            root.remove(found)
            yield f"qemu:{tag} is left out"


def record(text: str, part: SnapshotPart, manifest: Manifest, place: Place, fit: Fit) -> Element:
    """The record of a snapshot for a redefinition. Raises what ``fit`` raises, SnapshotError NF-SNAP-001."""
    root = xml.parse(text)
    images = place.images(manifest, part.images)
    memory = place.memory(part)
    _refit(root, images, fit, keep_running=bool(memory))
    _move_disks(root, place)
    _put_memory(root, memory, lost=part.memory is not None and not memory)
    _put_parent(root, part.parent)
    return _described(root, part, place, images)


def _refit(root: Element, images: Images, fit: Fit, *, keep_running: bool) -> None:
    """Both definitions a record has; only saved memory needs that of the running guest."""
    pairs = [("domain", xml.running(root)), ("inactiveDomain", xml.definition(root))]
    pairs = pairs if keep_running else [("domain", xml.definition(root))]
    for tag in ("domain", "inactiveDomain"):
        for stale in root.findall(tag):
            root.remove(stale)
    for tag, tree in pairs:
        if tree.find("devices") is not None:
            fitted = xml.parse(fit(closed(xml.text_of(tree), frozenset(images)).xml, images))
            fitted.tag = tag
            root.append(fitted)


def _move_disks(root: Element, place: Place) -> None:
    """The overlays a snapshot was taken with; those that were merged since have no file any more."""
    for listed in root.findall("disks"):
        for disk in list(listed):
            name, source = disk.get("name", ""), disk.find("source")
            if name not in place.stems:
                listed.remove(disk)
            elif source is not None:
                told = source.get("file", "")
                token = told[-8:] if OVERLAY.search(told) else "0" * 8
                source.attrib.clear()
                source.set("file", f"{place.stems[name]}.nf-{token}")


def _put_memory(root: Element, path: str, *, lost: bool) -> None:
    memory, state = root.find("memory[@snapshot='external']"), root.find("state")
    if memory is not None and path:
        memory.set("file", path)
    elif memory is not None:
        memory.attrib = {"snapshot": "no"}
    if lost and state is not None:
        state.text = "disk-snapshot"


def _put_parent(root: Element, name: str) -> None:
    for stale in root.findall("parent"):
        root.remove(stale)
    if name:
        SubElement(SubElement(root, "parent"), "name").text = name


def _described(root: Element, part: SnapshotPart, place: Place, images: Images) -> Element:
    known = note.read(root.findtext("description", ""))
    if known is None:
        return root
    lost = part.memory is not None and not place.memory(part)
    moved = replace(
        known,
        images={target: images[target][0] for target in part.images},
        copies={where: copy for where, copy, _ in copies(xml.definition(root), part)},
        mode="crash" if lost else known.mode,
        asked=known.mode if lost else known.asked,
        why=LOST if lost else known.why,
    )
    return xml.described(root, note.write(moved))


def copies(definition: Element, part: SnapshotPart) -> Iterator[tuple[str, str, str]]:
    """Of what a snapshot keeps beside the disks: where each belongs, its copy there, and the archive's member."""
    for path in xml.extras(definition):
        kept = part.tpm if path.startswith(f"{TPM_STATE}/") else part.nvram
        if kept is not None:
            yield path, f"{path}.nf-{part.token}", kept.member


def own(definition: Element, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Where the VM's own UEFI variables and TPM state belong, and the archive's member."""
    for path in xml.extras(definition):
        kept = manifest.tpm if path.startswith(f"{TPM_STATE}/") else manifest.nvram
        if kept is not None:
            yield path, kept.member


def without_types(text: bytes) -> bool:
    """No document type, whose entities could be bombs."""
    return b"<!DOCTYPE" not in text
