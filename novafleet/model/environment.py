"""The desired state: an environment file after includes, variables, counts and placement.

Identity is by name. Sizes are bytes, times are seconds. Every resource knows its file:line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from novafleet.errors import Location
from novafleet.model.policies import Policies
from novafleet.model.policy import Policy
from novafleet.model.secret import Secret

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file a host needs: pulled by the host from ``url``, or uploaded from ``path`` on the controller."""

    url: str = ""
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image, a kernel with its initrd, or both. ``format``: qcow2 | raw | "" (detected on the host)."""

    name: str
    disk: Artifact | None = None
    format: str = ""
    kernel: Artifact | None = None
    initrd: Artifact | None = None
    cmdline: str = ""
    source: Location = Location("")


class NetworkMode(StrEnum):
    """``bridge`` uses a bridge the host already has; the others make a libvirt network."""

    NAT = "nat"
    ISOLATED = "isolated"
    ROUTED = "routed"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class LeaseEntry:
    """One static DHCP lease and DNS name of a network, derived from the VMs' NICs."""

    mac: str
    ip: str
    name: str


@dataclass(frozen=True, slots=True)
class Network:
    """One logical network. On each of ``hosts`` it becomes a libvirt network named ``libvirt_name``.

    ``cidr`` is the gateway's subnet; DHCP serves ``dhcp_start``-``dhcp_end`` when ``dhcp``.
    """

    name: str
    libvirt_name: str
    mode: NetworkMode
    cidr: str = ""
    gateway: str = ""
    dhcp: bool = False
    dhcp_start: str = ""
    dhcp_end: str = ""
    domain: str = ""
    bridge: str = ""
    mtu: int = 0
    vlan: int = 0
    autostart: bool = True
    hosts: tuple[str, ...] = ()
    leases: Mapping[str, tuple[LeaseEntry, ...]] = field(default_factory=dict)
    """Per host name, the leases of the VMs placed there."""
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Disk:
    """A VM's disk by name. ``size`` 0 means the image's own size; ``copy`` is overlay | full."""

    name: str
    path: str
    pool: str = "default"
    image: str = ""
    size: int = 0
    format: str = "qcow2"
    copy: str = "overlay"
    bus: str = "virtio"
    protect: bool = False
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Nic:
    """A VM's network card by name; ``mac`` is deterministic when the file gives none."""

    name: str
    network: str
    mac: str
    ip: str = ""
    model: str = "virtio"
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class CloudInit:
    """NoCloud seed content. ``rerun``: never | on-change (a new instance-id when the content changes)."""

    user_data: Mapping[str, Any] = field(default_factory=dict)
    network_config: Mapping[str, Any] | None = None
    rerun: str = "never"
    path: str = ""
    source: Location = Location("")


class GateKind(StrEnum):
    """Where a readiness gate looks for its evidence."""

    TCP = "tcp"
    HTTP = "http"
    SSH = "ssh"
    AGENT = "agent"
    CLOUD_INIT = "cloud_init"
    SERIAL = "serial"
    COMPOSE = "compose"
    EXEC = "exec"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Gate:
    """One readiness check, probed through the VM's host. ``target`` by kind:

    tcp: port; http: ``{port, path, status, tls}``; ssh: port; agent, cloud_init: none; serial: a regular
    expression; exec: argv list run on the host (``{"argv": […]}``) ; compose: service names or all.
    A probe is tried every ``interval``; failures within ``start_period`` do not count towards ``retries``
    (0: as many as fit in ``timeout``, which bounds the whole wait).
    """

    kind: GateKind
    target: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    interval: float = 1.0
    timeout: float = 120.0
    retries: int = 0
    start_period: float = 0.0
    source: Location = Location("")

    @property
    def label(self) -> str:
        """What a person calls it: ``tcp:22``, ``serial:/login:/``."""
        value = self.target.get("port") or self.target.get("pattern") or ""
        return f"{self.kind}:{value}" if value else str(self.kind)


class Condition(StrEnum):
    """Compose's words for when a dependency is met."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Dependency:
    """``target`` is a resource address: ``vm.db`` or ``stack.edge``."""

    target: str
    condition: Condition
    source: Location = Location("")


@dataclass(frozen=True, slots=True)
class Vm:
    """One virtual machine on one host (placement and ``count`` are already resolved).

    ``domain`` is its libvirt name, ``uuid`` deterministic from environment and name. ``base`` is the name in
    the file (``web`` for ``web-2``). ``boot`` names the image whose kernel is booted directly, if any.
    """

    name: str
    base: str
    domain: str
    uuid: str
    host: str
    memory: int
    vcpus: int = 1
    cpu: str = ""
    firmware: str = "bios"
    tpm: bool = False
    machine: str = ""
    disks: Mapping[str, Disk] = field(default_factory=dict)
    nics: Mapping[str, Nic] = field(default_factory=dict)
    boot: str = ""
    cmdline: str = ""
    cloud_init: CloudInit | None = None
    ready: tuple[Gate, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    autostart: bool = False
    agent: bool = True
    serial_log: str = ""
    stop_timeout: float = 30.0
    xml: str = ""
    backup: Policy | None = None
    source: Location = Location("")
    origins: Mapping[str, Location] = field(default_factory=dict)
    """Where each field was written, by its key (``memory``, ``disks.data``)."""
    moved_from: str = ""
    """The host of the file, when a migration took the VM to ``host``: it is at home there."""
    between: str = ""
    """Its migration that has not ended, in words: until then nothing of it is changed."""


@dataclass(frozen=True, slots=True)
class StackFile:
    """One rendered file of a stack's bundle; ``path`` is relative and never leaves the bundle."""

    path: str
    content: Secret
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Stack:
    """A container stack on one host: a bundle of rendered files and the way to run it.

    ``kind`` is compose | kube | quadlet; ``runtime`` auto | docker | podman. ``images`` are archives
    (docker-save or OCI tar) shipped to the host when it lacks the image.
    """

    name: str
    host: str
    project: str
    kind: str
    entry: str
    files: tuple[StackFile, ...]
    digest: str
    runtime: str = "auto"
    images: Mapping[str, Artifact] = field(default_factory=dict)
    ready: tuple[Gate, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    source: Location = Location("")
    origins: Mapping[str, Location] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything one environment file asks for."""

    name: str
    source: Location
    images: Mapping[str, Image] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    vms: Mapping[str, Vm] = field(default_factory=dict)
    stacks: Mapping[str, Stack] = field(default_factory=dict)
    backup: Policy | None = None
    policies: Policies | None = None
    digest: str = ""
    """Hash of the files and variables it was made from."""

    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts it touches, sorted."""
        used = {vm.host for vm in self.vms.values()} | {stack.host for stack in self.stacks.values()}
        used.update(host for network in self.networks.values() for host in network.hosts)
        return tuple(sorted(used))
