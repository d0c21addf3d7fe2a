"""What a restore is asked for, and how what it leaves on a host is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.capability.backup.restore_xml import NewDisk
from novafleet.model.backup import DiskCopy

FOLDER = "/run/novafleet/restore"
FORMATS = {"qcow2": "qcow2", "raw": "img"}
"""Formats a disk is restored as, and how such a file's name ends; any other becomes qcow2."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. ``name``: of the domain; ``keep``: it stays the VM it was (name, UUID, MACs), else it is a copy;
    ``pool``: the directory its disks go to and ``free`` bytes there; ``networks``: other ones to connect it to;
    ``apart``: a copy on networks of its own, so that it may keep its MACs, and whose console is logged."""

    name: str
    pool: str
    free: int
    keep: bool = False
    networks: Mapping[str, str] = field(default_factory=dict)
    start: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What a restore leaves on a host is named after the domain it makes: the next one finds it without being told."""

    host: str
    order: Order
    places: Mapping[str, NewDisk] = field(default_factory=dict)
    """Where disks lie in the end, by target, when that is not ours to choose."""

    @property
    def id(self) -> str:
        """The same for a host and a name."""
        return hashlib.sha256(f"{self.host}/{self.order.name}".encode()).hexdigest()[:12]

    @property
    def unit(self) -> str:
        """How its units begin."""
        return f"nf-restore-{self.id}"

    def unit_of(self, copy: DiskCopy) -> str:
        """The unit that takes a disk."""
        return f"{self.unit}-{plain(copy.target)}"

    @property
    def folder(self) -> str:
        """Root's own, 0700."""
        return f"{FOLDER}/{self.id}"

    @property
    def prefix(self) -> str:
        """How its part files begin."""
        return f".nf-restore-{self.id}-"

    def part(self, copy: DiskCopy) -> str:
        """Where a disk is written: beside where it will be."""
        return f"{self.final(copy).path.rpartition('/')[0]}/{self.prefix}{plain(copy.target)}.part"

    def final(self, copy: DiskCopy) -> NewDisk:
        """Where it lies in the end: under the name it had, or that of the copy."""
        if copy.target in self.places:
            return self.places[copy.target]
        form = copy.format if copy.format in FORMATS else "qcow2"
        before = copy.path.rpartition("/")[2]
        kept = before if self.order.keep and copy.format == form else ""
        file = kept or f"{self.order.name}.{plain(copy.name)}.{FORMATS[form]}"
        return NewDisk(f"{self.order.pool}/{file}", form)

    def socket(self, copy: DiskCopy) -> str:
        """Where ``qemu-nbd`` takes a disk."""
        return f"{self.folder}/{plain(copy.target)}.sock"


def plain(name: str) -> str:
    """A name fit for a file and a unit, whatever a snapshot says."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "disk"
