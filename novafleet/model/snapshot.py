"""Snapshots, checkpoints and jobs of a domain, as libvirt tells of them. Sizes are bytes; untrusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto


class SnapshotFlag(Flag):
    """How a snapshot is made: ``VIR_DOMAIN_SNAPSHOT_CREATE_*`` by its own word.

    ``DISK_ONLY`` leaves the memory out; ``LIVE`` keeps the guest running while memory is saved; ``QUIESCE`` freezes
    its file systems through the agent; ``ATOMIC`` all disks or none; ``REUSE`` the overlay files exist; ``REDEFINE``
    only the metadata, ``CURRENT`` with it as the current one; ``HALT`` the guest is off afterwards.
    """

    NONE = 0
    DISK_ONLY = auto()
    LIVE = auto()
    QUIESCE = auto()
    ATOMIC = auto()
    REUSE = auto()
    REDEFINE = auto()
    CURRENT = auto()
    HALT = auto()


@dataclass(frozen=True, slots=True)
class DomainSnapshot:
    """A snapshot libvirt keeps of a domain. ``state``: running | paused | shutoff | disk-snapshot | …, when it was
    made; ``created`` seconds since the epoch by the host's clock; ``parent`` empty at a root."""

    name: str
    parent: str
    state: str
    created: int
    xml: str
    current: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment from which changes are recorded in bitmaps. ``created`` as for snapshots; ``xml`` is without the
    domain, fit for a redefinition."""

    name: str
    parent: str
    created: int
    xml: str


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A backup under way. ``xml`` is libvirt's completed ``<domainbackup>``; ``temporary_used`` and
    ``temporary_total`` are what all scratch files hold and could hold at most."""

    xml: str
    temporary_used: int = 0
    temporary_total: int = 0


@dataclass(frozen=True, slots=True)
class BlockJob:
    """A pull, copy, commit or active-commit of one disk: ``done`` of ``total``. A ``ready`` one waits for its pivot."""

    kind: str
    done: int
    total: int
    bandwidth: int = 0
    ready: bool = False


@dataclass(frozen=True, slots=True)
class DiskLoad:
    """What a guest's disk has done since it was started: requests that ended, and the seconds they took together."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A disk as the guest sees it (``capacity``), its highest byte in use (``allocation``), and what it occupies."""

    capacity: int
    allocation: int
    physical: int
