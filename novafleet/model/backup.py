"""What a backup repository holds: snapshots of VMs, and where on a disk there is data. Sizes and offsets are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class CopyMode(StrEnum):
    """How a disk was read. ``offline``: the VM was off; its disk was read by ``qemu-nbd`` on the host."""

    FULL = "full"
    INCREMENTAL = "incremental"
    HASH_INCREMENTAL = "hash-incremental"
    OFFLINE = "offline"


class Consistency(StrEnum):
    """What the disks of one snapshot agree on: as after a power cut, as after a sync, or a clean shutdown."""

    CRASH = "crash"
    FS = "fs"
    OFFLINE = "offline"


class SnapshotKind(StrEnum):
    """What a snapshot is of."""

    VM = "vm"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a disk. ``zero``: reads as zeroes. ``dirty``: written since the checkpoint asked about."""

    offset: int
    length: int
    zero: bool = False
    dirty: bool = True

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Blob:
    """A small file kept beside the disks (XML, NVRAM, TPM state): where its content is, and its size."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class DiskCopy:
    """One disk of a snapshot; every copy is a whole one, however little was read for it.

    ``name`` is its name in the environment file, or the guest's (``vda``) for VMs NovaFleet did not define;
    ``target`` always the guest's. ``root`` is the id of its map. ``checkpoint`` is the bitmap that records what
    changes from here on; empty when there is none. ``why`` says what led to the mode.

    Of a stack it is a tar archive (``format``) of its bundle (``bundle``) or of a named volume (``volume.NAME``), or an
    image (``image.NAME``) as an engine saves it, as long as ``size``; ``target`` is the engine's name of the volume or
    image, ``path`` the folder it was made of.
    """

    name: str
    target: str
    size: int
    root: str
    format: str = "qcow2"
    path: str = ""
    mode: CopyMode = CopyMode.FULL
    why: str = ""
    checkpoint: str = ""
    bytes_read: int = 0
    bytes_stored: int = 0
    """What this run added to the repository for it, after compression."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One VM (or stack) at one moment. ``id`` sorts by time; ``at`` is seconds since the epoch, by the controller's
    clock.

    ``vm`` is its name in the environment file, or the domain's; ``files`` are ``domain.xml``, ``nvram``, ``tpm.tar``,
    ``networks/NAME.xml``; ``facts`` are versions and the guest's own words; ``parent`` is what its incremental disks
    were read against (not needed to restore it).
    """

    id: str
    vm: str
    domain: str
    uuid: str
    host: str
    at: float
    consistency: Consistency
    disks: Mapping[str, DiskCopy] = field(default_factory=dict)
    files: Mapping[str, Blob] = field(default_factory=dict)
    environment: str = ""
    parent: str = ""
    tags: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    kind: SnapshotKind = SnapshotKind.VM

    @property
    def size(self) -> int:
        """What a restore would write at most."""
        return sum(disk.size for disk in self.disks.values())

    @property
    def bytes_stored(self) -> int:
        """What this snapshot added to the repository."""
        return sum(disk.bytes_stored for disk in self.disks.values())


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a store: its key, its bytes, and when it was written by the *store's* clock (epoch seconds)."""

    key: str
    size: int
    modified: float
