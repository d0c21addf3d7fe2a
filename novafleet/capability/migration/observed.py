"""What was seen of one VM and the two hosts before its migration. Plain data: ``look.py`` fills it, the rest judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.model.facts import Domain, NetworkFact, PoolFact
from novafleet.model.migration import GateAhead
from novafleet.model.snapshot import Checkpoint, DomainSnapshot
from novafleet.plan.pins import Topology


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image as ``qemu-img`` tells. ``size`` is the guest's, ``allocated`` the file's own, both bytes;
    ``backing`` the path under it, ``internal`` names snapshots inside. ``error``: why it could not be read."""

    path: str
    format: str
    size: int = 0
    allocated: int = 0
    backing: str = ""
    internal: tuple[str, ...] = ()
    error: str = ""
    untold: bool = False
    """It does not say what format the one under it has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file or directory that is there. ``sha256`` is empty where nobody computed it."""

    size: int
    sha256: str = ""
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """One host. ``versions`` (libvirt, QEMU) in libvirt's encoding; ``machines`` the machine types its emulators know
    for the VM's architecture; ``devices`` network interfaces with their MTU; ``chains`` images by the
    disk's file, the active one first; ``room`` bytes free by directory; ``lock_manager`` "" for none."""

    host: str
    versions: tuple[int, int] = (0, 0)
    uuid: str = ""
    memory_available: int = 0
    kvm: bool = False
    cpu_flags: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    lock_manager: str = ""
    swtpm: bool = False
    topology: Topology = field(default_factory=Topology)
    addresses: frozenset[str] = frozenset()
    """IPv4; empty when nobody told."""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    networks: Mapping[str, NetworkFact] = field(default_factory=dict)
    pools: Mapping[str, PoolFact] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)
    files: Mapping[str, Seen] = field(default_factory=dict)
    room: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """One VM between two hosts. ``xml`` is its inactive definition, ``running_xml`` what runs ("" when it is off).

    ``shared`` are directories of the source proven to be the same on the destination. ``cpu`` is libvirt's answer on
    the destination: "" for a running CPU that can go on there, else why not; ``boot_cpu`` the same for the CPU of the
    definition, which a start needs. ``busy`` names the job that holds the VM. ``paths`` by name why each cannot be used
    ("": it can), ``path`` the one to take; ``link_rate`` and ``dirty_rate`` bytes a second (0: not measured);
    ``resident`` bytes of memory QEMU holds.
    """

    job: str
    vm: str
    environment: str
    domain: Domain
    source: Side
    destination: Side
    running_xml: str = ""
    snapshots: tuple[DomainSnapshot, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    shared: frozenset[str] = frozenset()
    cpu: str = ""
    boot_cpu: str = ""
    busy: str = ""
    resident: int = 0
    paths: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    link_rate: float = 0.0
    dirty_rate: float = 0.0
    filters: Mapping[str, str] = field(default_factory=dict)
    """Network filters its cards refer to, and those these refer to, as the source has them; those come first."""
    filters_there: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[GateAhead, ...] = ()
    gates_unknown: str = ""
    """Why nobody here knows the gates of a VM that is of an environment."""
    address: str = ""

    @property
    def running(self) -> bool:
        """Does QEMU run it, paused or not?"""
        return bool(self.running_xml)

    @property
    def active_xml(self) -> str:
        """What runs, else the definition."""
        return self.running_xml or self.domain.xml
