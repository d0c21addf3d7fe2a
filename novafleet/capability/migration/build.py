"""The disks and files of a move, from what was seen: what is shared, what is copied, what the copies stand on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname
from shlex import quote
from xml.etree import ElementTree

from novafleet.capability.migration import place
from novafleet.capability.migration.guest import Guest, GuestDisk, whole
from novafleet.capability.migration.observed import Image, Observed, Side
from novafleet.model.migration import MoveDisk, MoveFile, Wanted
from novafleet.plan.storage import IMAGE_PREFIX

MADE_LATER = frozenset(("nvram", "tpm"))
"""Kinds of files that QEMU, libvirt or the copy make when the VM comes, and the folders they lie in."""


@dataclass(frozen=True, slots=True)
class Case:
    """One VM's migration, laid out. ``guest`` is what runs, or the definition of one that is off."""

    observed: Observed
    wanted: Wanted
    guest: Guest
    disks: tuple[MoveDisk, ...]
    files: tuple[MoveFile, ...]

    @property
    def source(self) -> Side:
        """Where it is."""
        return self.observed.source

    @property
    def destination(self) -> Side:
        """Where it is to go."""
        return self.observed.destination

    @property
    def word(self) -> str:
        """Its name as a word of a shell's line."""
        return quote(self.guest.name)

    @property
    def copied(self) -> tuple[MoveDisk, ...]:
        """The disks that have to be carried."""
        return tuple(disk for disk in self.disks if not disk.shared)

    @property
    def brought(self) -> tuple[MoveFile, ...]:
        """The files that have to be carried."""
        return tuple(each for each in self.files if not each.shared and not each.present)


def lay_out(observed: Observed, wanted: Wanted) -> Case:
    """Raises MigrationError NF-MIG-300 for a definition that cannot be read."""
    guest = whole(observed.active_xml, observed.domain.xml, observed.source.pools)
    drives = [disk for disk in guest.disks if not disk.medium]
    disks = tuple(_disk(observed, wanted, disk) for disk in drives)
    layers = {each.source: each for disk in disks if not disk.shared for each in _layers(observed, wanted, disk)}
    files = (*layers.values(), *_files(observed, wanted, guest))
    return Case(observed, wanted, guest, disks, files)


def _arrival(observed: Observed, wanted: Wanted, path: str) -> str:
    return place.arrival(path, observed.source.pools, observed.destination.pools, wanted)


def _disk(observed: Observed, wanted: Wanted, disk: GuestDisk) -> MoveDisk:
    chain = observed.source.chains.get(disk.path, ()) if disk.path else ()
    active = chain[0] if chain else Image(disk.path, disk.format)
    same = not disk.path or (wanted.copy_storage is not True and _same(observed, disk.path))
    shared = same or (
        disk.readonly and _present(observed, wanted, disk.path)
    )  # nobody writes to it: an equal one will do
    under = chain[1] if len(chain) > 1 and not shared and _stands(observed, wanted, chain) else None
    return MoveDisk(
        target=disk.target,
        source=disk.path,
        path=disk.path if same else _arrival(observed, wanted, disk.path),
        format=disk.format,
        size=active.size,
        allocated=active.allocated if under is not None else sum(image.allocated for image in chain),
        shared=shared,
        readonly=disk.readonly,
        backing=_arrival(observed, wanted, under.path) if under is not None else "",
        backing_format=under.format if under is not None else "",
        chain=tuple(image.path for image in chain),
    )


def _same(observed: Observed, path: str) -> bool:
    """Is the file there the one here? The directory is proven, and the file has the same inode."""
    here, there = observed.source.files.get(path), observed.destination.files.get(path)
    return dirname(path) in observed.shared and here is not None and there is not None and here.inode == there.inode


def _stands(observed: Observed, wanted: Wanted, chain: tuple[Image, ...]) -> bool:
    """May the copy stand on what is under the disk? Each image names the one under it by its path, so that all keep
    theirs but the lowest's own, which a new overlay is told; and none may be in the way of another file."""
    lower = chain[1:]
    kept = all(_arrival(observed, wanted, image.path) == image.path for image in lower)
    known = all(_present(observed, wanted, image.path) or _free(observed, wanted, image.path) for image in lower)
    return known and all(plain(image.path) for image in lower) and (kept or len(lower) == 1)


def plain(path: str) -> bool:
    """Is it a file, neither a device nor reached over a network?"""
    return path.startswith("/") and not path.startswith("/dev/")


def _digest(side: Side, path: str) -> str:
    """What is recorded of a file, or computed; a base image's own name when its record agrees."""
    seen = side.files.get(path)
    return seen.sha256 if seen is not None else ""


def _present(observed: Observed, wanted: Wanted, path: str) -> bool:
    here = _digest(observed.source, path)
    return bool(here) and here == _digest(observed.destination, _arrival(observed, wanted, path))


def _free(observed: Observed, wanted: Wanted, path: str) -> bool:
    return _arrival(observed, wanted, path) not in observed.destination.files


def _layers(observed: Observed, wanted: Wanted, disk: MoveDisk) -> Iterator[MoveFile]:
    """The images a copy stands on. A ``layer`` is the VM's own: what lies under its snapshots."""
    if not disk.backing:
        return
    for image in observed.source.chains[disk.source][1:]:
        kind = "image" if basename(image.path).startswith(IMAGE_PREFIX) else "layer"
        yield _file(observed, wanted, kind, image.path)


def _files(observed: Observed, wanted: Wanted, guest: Guest) -> Iterator[MoveFile]:
    named = [(disk.device, disk.path) for disk in guest.disks if disk.medium and disk.kind == "file"]
    named += [("kernel", guest.kernel), ("initrd", guest.initrd), ("dtb", guest.dtb)]
    named += [("table", path) for path in guest.tables]
    named += [("nvram", guest.nvram), ("tpm", guest.tpm)]
    seen: set[str] = set()
    for kind, path in named:
        if path and path not in seen and path in observed.source.files:
            seen.add(path)
            yield _file(observed, wanted, "cdrom" if kind == "floppy" else kind, path)


def _file(observed: Observed, wanted: Wanted, kind: str, path: str) -> MoveFile:
    fact = observed.source.files.get(path)
    shared = wanted.copy_storage is not True and _same(observed, path)
    return MoveFile(
        kind=kind,
        source=path,
        path=path if shared else _arrival(observed, wanted, path),
        size=fact.size if fact is not None else 0,
        sha256=_digest(observed.source, path),
        shared=shared,
        present=not shared and kind not in MADE_LATER and _present(observed, wanted, path),
    )


def leases(case: Case) -> Mapping[str, tuple[str, ...]]:
    """The static DHCP leases of the VM's cards, by the source's network."""
    found: dict[str, tuple[str, ...]] = {}
    macs = {nic.mac.lower() for nic in case.guest.nics}
    for nic in case.guest.nics:
        fact = case.source.networks.get(nic.source)
        if nic.kind == "network" and fact is not None and nic.source not in found:
            entries = ElementTree.fromstring(fact.xml).iterfind("ip/dhcp/host")
            own = (entry for entry in entries if entry.get("mac", "").lower() in macs)
            found[nic.source] = tuple(ElementTree.tostring(entry, encoding="unicode").strip() for entry in own)
    return {name: entries for name, entries in found.items() if entries}
