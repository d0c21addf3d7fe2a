"""Where files lie on a host: the one place their paths are made (docs/architecture.md)."""

from __future__ import annotations

from novafleet.errors import ConfigError
from novafleet.model.environment import Disk, Environment, Vm
from novafleet.model.facts import HostFacts

DEFAULT_POOL = "default"
DEFAULT_PATH = "/var/lib/libvirt/images"
DIGEST_SUFFIX = ".sha256"
PROTECTED_SUFFIX = ".protected"


def pool_path(facts: HostFacts, pool: str) -> str:
    """The directory of a pool. The default one may not exist yet: the step that needs it makes it.

    Raises ConfigError NF-VOL-003 for any other pool the host does not have.
    """
    fact = facts.pools.get(pool)
    if fact is not None and fact.path:
        return fact.path.rstrip("/")
    if pool == DEFAULT_POOL:
        return DEFAULT_PATH
    raise ConfigError(
        f"storage pool {pool!r} does not exist on {facts.host}",
        code="NF-VOL-003",
        where=facts.host,
        hints=(
            f"novafleet host exec -l {facts.host} -- virsh pool-define-as {pool} dir --target /srv/{pool}",
            "pools there: " + (", ".join(sorted(facts.pools)) or "none"),
        ),
    )


def volume_path(facts: HostFacts, disk: Disk) -> str:
    """``POOL/ENV.VM.DISK.qcow2``. Raises ConfigError NF-VOL-003."""
    return f"{pool_path(facts, disk.pool)}/{disk.path}"


def image_path(facts: HostFacts, sha256: str) -> str:
    """``POOL/novafleet-image-SHA256`` in the default pool: a file whose name is its digest."""
    return f"{pool_path(facts, DEFAULT_POOL)}/novafleet-image-{sha256}"


def seed_name(environment: str, vm: str) -> str:
    """``ENV.VM.seed.iso``."""
    return f"{environment}.{vm}.seed.iso"


def seed_path(facts: HostFacts, environment: Environment, vm: Vm) -> str:
    """Where a VM's cloud-init seed lies, in the default pool."""
    return f"{pool_path(facts, DEFAULT_POOL)}/{seed_name(environment.name, vm.name)}"


def serial_log(vm: Vm) -> str:
    """The host's file that the serial console is written to; emptied by libvirt at each start."""
    return vm.serial_log or f"/var/log/libvirt/qemu/{vm.domain}-serial.log"
