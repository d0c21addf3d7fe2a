"""Observed state of one host, as the collectors and libvirt told it. Untrusted, parsed, dated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NO_ANSWER = "no answer"
"""``Domain.reason`` of one whose QEMU does not answer libvirt."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A libvirt domain. ``state``: running | paused | shutoff | crashed | pmsuspended | in-shutdown | blocked.

    ``xml`` is the inactive definition as libvirt holds it; ``reason`` libvirt's word for the last state change, or
    NO_ANSWER. ``saved``: its memory waits in a managed save; its next start goes on with the disks of then.
    """

    name: str
    uuid: str
    state: str
    xml: str
    persistent: bool = True
    autostart: bool = False
    reason: str = ""
    saved: bool = False


@dataclass(frozen=True, slots=True)
class DomainState:
    """What libvirt knows of a domain without asking QEMU; in the words of ``Domain``."""

    uuid: str
    state: str
    reason: str
    persistent: bool = True


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A lifecycle event: defined | undefined | started | suspended | resumed | stopped | shutdown | crashed."""

    domain: str
    kind: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class NetworkFact:
    """A libvirt network with its inactive XML."""

    name: str
    uuid: str
    active: bool
    autostart: bool
    xml: str


@dataclass(frozen=True, slots=True)
class PoolFact:
    """A storage pool; sizes in bytes."""

    name: str
    active: bool
    path: str
    capacity: int
    available: int


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file NovaFleet keeps on a host: a volume, seed or cached image. ``size`` is apparent bytes.

    The rest is what ``qemu-img info`` says of a disk image: its size as a guest sees it (0: not asked or not an
    image), its ``format`` and the path of its ``backing`` file.
    """

    path: str
    size: int
    allocated: int
    mtime: float
    virtual_size: int = 0
    format: str = ""
    backing: str = ""


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """One container of a stack. ``state``: created|running|exited|…; ``health``: healthy|unhealthy|starting|""."""

    name: str
    service: str
    image: str
    state: str
    health: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class StackFact:
    """A bundle NovaFleet pushed: its recorded digest and runtime, and the containers seen of it."""

    project: str
    environment: str
    digest: str
    runtime: str
    kind: str
    containers: tuple[ContainerFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine on the host. ``name``: docker | podman; ``compose`` the commands that work, best first."""

    name: str
    version: str
    compose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host at one time (``taken_at``, controller's clock, seconds since the epoch).

    ``error`` is set, and everything else empty, when the host could not be observed.
    """

    host: str
    taken_at: float
    error: str = ""
    error_code: str = ""
    error_hints: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    """Plain facts by name: kernel, arch, boot_id, hostname, clock, libvirt_version, qemu_version, host_uuid, …"""
    cpus: int = 0
    memory_total: int = 0
    memory_available: int = 0
    kvm: bool = False
    emulator: str = ""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    networks: Mapping[str, NetworkFact] = field(default_factory=dict)
    pools: Mapping[str, PoolFact] = field(default_factory=dict)
    files: Mapping[str, FileFact] = field(default_factory=dict)
    """By path: what lies in the pools and in NovaFleet's own directories."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """By path: recorded sha256 of seeds and images (from the sidecar written with them)."""
    stacks: Mapping[str, StackFact] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    bridges: tuple[str, ...] = ()
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By interface, its IPv4 addresses with prefix length."""


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The facts of every host asked, by host name."""

    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
