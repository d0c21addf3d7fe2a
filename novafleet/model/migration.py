"""What a migration is made of, from the question (``Wanted``) to the record that lets it be undone. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from novafleet.model.environment import Gate


class Mode(StrEnum):
    """How a VM gets from host to host. ``auto`` is the ladder live, postcopy, warm, cold, as far as it is allowed."""

    AUTO = "auto"
    LIVE = "live"
    POSTCOPY = "postcopy"
    WARM = "warm"
    COLD = "cold"


class Path(StrEnum):
    """What carries the bytes: TCP between the hosts, an SSH connection between them, or the controller."""

    AUTO = "auto"
    DIRECT = "direct"
    TUNNEL = "tunnel"
    RELAY = "relay"


class Phase(StrEnum):
    """How far a migration is, in this order; kept in the journal and in the domain's metadata on both hosts.

    Up to ``copying`` the source is the truth and everything made on the destination may go. From ``switching`` on only
    observed facts say which copy lives. ``switched``: the destination runs it. ``verified``: its gates passed.
    ``committed``: the source is undefined, its disks in quarantine. ``returning``: the destination ran it, but a gate
    was not met, and what it wrote there is given up for the source's whole disks.
    """

    PREPARING = "preparing"
    COPYING = "copying"
    SWITCHING = "switching"
    SWITCHED = "switched"
    VERIFIED = "verified"
    COMMITTED = "committed"
    RETURNING = "returning"
    UNDONE = "undone"
    ROLLED_BACK = "rolled-back"


class Severity(StrEnum):
    """A blocker refuses, a warning needs no consent but is shown, a note informs."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked. ``deadline`` seconds for the whole move (0: none), ``max_downtime`` milliseconds the guest may
    stand still while live, ``bandwidth`` bytes a second (0: unlimited); ``pool`` and ``networks`` (from -> to) where
    the destination's names differ. ``consent``: what may be lost (see the findings that ask for it)."""

    mode: Mode = Mode.AUTO
    path: Path = Path.AUTO
    deadline: float = 0.0
    max_downtime: int = 500
    bandwidth: int = 0
    compress: bool = False
    parallel: int = 0
    copy_storage: bool | None = None
    """True: copy even what seems shared; False: refuse to copy; None: what proof says."""
    pool: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    consent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the dossier has to say. ``modes`` it concerns (empty: all); ``code`` NF-MIG-NNN."""

    severity: Severity
    code: str
    what: str
    fix: str = ""
    modes: tuple[Mode, ...] = ()


@dataclass(frozen=True, slots=True)
class MoveDisk:
    """One disk of the VM. ``source`` and ``path`` are files on the two hosts; ``shared`` proven to be the same file.

    ``backing`` is the destination's path of an image the copy may stand on (proven there, same digest), "" when the
    copy stands alone. ``chain`` are the source's files from the active one down. ``format``: qcow2 | raw.
    """

    target: str
    source: str
    path: str
    format: str
    size: int
    allocated: int
    shared: bool = False
    readonly: bool = False
    backing: str = ""
    backing_format: str = ""
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MoveFile:
    """Another file the VM needs on the destination. ``kind``: cdrom | kernel | initrd | dtb | image | nvram | tpm."""

    kind: str
    source: str
    path: str
    size: int
    sha256: str = ""
    shared: bool = False
    present: bool = False
    """The destination has it already, with this digest."""


@dataclass(frozen=True, slots=True)
class Move:
    """One VM's way from host to host, decided. ``ladder`` are the modes to try in turn; ``job`` names everything made
    for it (8 hex digits); ``xml`` is the inactive definition as found, ``snapshots``/``checkpoints`` their XML, parents
    first. ``leases`` are ``<host mac= ip= name=>`` elements by network that must exist on the destination."""

    job: str
    vm: str
    domain: str
    uuid: str
    environment: str
    source: str
    destination: str
    running: bool
    ladder: tuple[Mode, ...]
    path: Path
    xml: str
    disks: tuple[MoveDisk, ...] = ()
    files: tuple[MoveFile, ...] = ()
    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    autostart: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    filters: tuple[str, ...] = ()
    """Definitions of network filters that the destination does not have, each after those it refers to."""
    gates: tuple[Gate, ...] = ()
    """The VM's own, as far as they were met on the source; those of its mode are asked on the destination."""
    address: str = ""
    """The guest's, where the source was told it by DHCP or the guest: one that goes on running keeps it."""

    @property
    def shares(self) -> bool:
        """Is there a disk that both hosts may write to?"""
        return any(disk.shared and not disk.readonly for disk in self.disks)


@dataclass(frozen=True, slots=True)
class GateAhead:
    """A readiness gate of the VM. ``met`` on the source now, which saw ``evidence``; ``modes`` after which it is asked
    on the destination: none when it is not met here."""

    gate: Gate
    met: bool
    evidence: str
    modes: tuple[Mode, ...] = ()


@dataclass(frozen=True, slots=True)
class GateSeen:
    """A gate (``tcp:22``) that was met on the destination: what was seen, after how many seconds."""

    gate: str
    evidence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one mode would be like. Seconds and milliseconds are predictions: ``total`` for the whole move,
    ``downtime`` the band (low, high) in which the guest stands still."""

    mode: Mode
    possible: bool
    why: str
    total_seconds: float = 0.0
    downtime_ms: tuple[float, float] = (0.0, 0.0)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything known before a migration. ``link_rate`` and ``dirty_rate`` bytes a second (0: not measured);
    ``paths`` by name why each can or cannot be used (empty: it can)."""

    move: Move
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]
    paths: Mapping[str, str] = field(default_factory=dict)
    link_rate: float = 0.0
    dirty_rate: float = 0.0
    protected: bool = False
    """A lock manager keeps two copies from writing to one disk."""
    gates: tuple[GateAhead, ...] = ()

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """Why no mode that was asked for can be used."""
        return tuple(each for each in self.findings if each.severity is Severity.BLOCKER and not each.modes)


@dataclass(frozen=True, slots=True)
class Progress:
    """libvirt's statistics of a migration job under way or completed (``virDomainGetJobStats``). Bytes, milliseconds;
    rates bytes a second. ``kind``: none | bounded | unbounded | completed | failed | cancelled."""

    kind: str = "none"
    elapsed_ms: int = 0
    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0
    rate: int = 0
    dirty_rate: int = 0
    iteration: int = 0
    throttle: int = 0
    downtime_ms: int = -1
    downtime_net_ms: int = -1
    setup_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A migration that ended well. ``downtimes`` in milliseconds by who measured: libvirt, events, probe;
    ``downtime_ms`` the longest of them, -1 where nobody could. ``undo_until`` seconds since the epoch, 0: never."""

    job: str
    vm: str
    domain: str
    source: str
    destination: str
    mode: Mode
    path: Path
    total_ms: float
    downtime_ms: float
    downtimes: Mapping[str, float]
    verified: bool
    undo_until: float
    tried: tuple[Mapping[str, Any], ...] = ()
    """The modes that did not work before this one, each with why."""
    gates: tuple[GateSeen, ...] = ()
