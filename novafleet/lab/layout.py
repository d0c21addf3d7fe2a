"""What the lab is made of: names, addresses and the flags of its containers. Pure.

The container flags are those that also work where ``--privileged`` does not (a root without CAP_SYS_RESOURCE).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from novafleet.errors import LabError

LABEL = "novafleet.lab"
"""On every container, volume, network and image of the lab; its value says what it is for."""
NAME = "novafleet-lab"
NETWORK = "novafleet-lab"
SUBNET = "172.31.250.0/24"
GATEWAY = "172.31.250.1"
MIRROR = "novafleet-lab-mirror"
MIRROR_ADDRESS = "172.31.250.5"
SHARED_VOLUME = "novafleet-lab-shared"
OPTIONAL_DEVICES = ("/dev/kvm", "/dev/userfaultfd")
"""Given to hosts where this machine has them: acceleration; page faults handed to QEMU, which post-copy needs."""
HTTPD_IMAGE = "localhost/novafleet/httpd:1"
MOST_HOSTS = 200
DEFAULT_HOSTS = 3
_NAMESPACE = uuid.UUID("0d7a63a3-7a6f-5a55-9a0c-6d2b7f4e4c11")

ENGINES = {"bookworm": "podman", "trixie": "docker"}
"""The container engine of each flavour (a suite of Debian)."""
VOLUMES = {"images": "/var/lib/libvirt/images", "containers": "/var/lib/containers", "docker": "/var/lib/docker"}
"""Nested engines and disks need a real file system under them: overlay does not stack on overlay."""


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host of the lab; ``number`` counts from 1."""

    number: int

    @property
    def name(self) -> str:
        return f"kvm{self.number}"

    @property
    def container(self) -> str:
        return f"{NAME}-{self.name}"

    @property
    def address(self) -> str:
        return f"172.31.250.{10 + self.number}"

    @property
    def flavour(self) -> str:
        """kvm1 is Debian 12, kvm2 and kvm3 are Debian 13, further ones take turns."""
        if self.number <= DEFAULT_HOSTS:
            return "bookworm" if self.number == 1 else "trixie"
        return "bookworm" if self.number % 2 == 0 else "trixie"

    @property
    def engine(self) -> str:
        return ENGINES[self.flavour]

    @property
    def machine_id(self) -> str:
        """32 hexadecimal digits, the same in every lab: libvirt makes the host's UUID of it."""
        return uuid.uuid5(_NAMESPACE, self.name).hex

    def volume(self, purpose: str) -> str:
        return f"{self.container}-{purpose}"


def hosts(count: int) -> tuple[LabHost, ...]:
    """The first ``count`` hosts. Raises LabError NF-LAB-006."""
    if not 1 <= count <= MOST_HOSTS:
        raise LabError(f"a lab has 1 to {MOST_HOSTS} hosts, not {count}", code="NF-LAB-006")
    return tuple(LabHost(number) for number in range(1, count + 1))


def of_container(container: str) -> LabHost | None:
    """The host that a container's name stands for; None when it is none."""
    digits = container.removeprefix(f"{NAME}-kvm")
    return LabHost(int(digits)) if container.startswith(f"{NAME}-kvm") and digits.isdecimal() else None


def create_arguments(host: LabHost, image: str, *, cgroup: int, devices: Sequence[str]) -> tuple[str, ...]:
    """Arguments of ``docker create`` for a host that boots systemd. ``cgroup`` is the engine's version, 1 or 2;
    ``devices`` those of ``OPTIONAL_DEVICES`` that this machine has."""
    mounts = [f"{host.volume(purpose)}:{path}" for purpose, path in VOLUMES.items()]
    mounts += [f"{SHARED_VOLUME}:/srv/shared", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    # systemd 256+ refuses cgroup v1 unless its kernel command line asks for it; a container has none of its own.
    legacy = "SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
    return (
        *("--name", host.container, "--hostname", host.name),
        *("--label", f"{LABEL}=host", "--label", f"{LABEL}.flavour={host.flavour}"),
        *("--network", NETWORK, "--ip", host.address, "--network-alias", host.name),
        *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *("--security-opt", "systempaths=unconfined"),
        *(word for device in ("/dev/net/tun", "/dev/fuse", *devices) for word in ("--device", device)),
        *("--cgroupns=host", "--tmpfs", "/run:exec", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),  # noqa: S108
        *(word for mount in mounts for word in ("--volume", mount)),
        *(("--env", legacy) if cgroup == 1 else ()),
        image,
    )
