"""Where files lie on a host: the one place their paths are made (docs/architecture.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from novafleet.errors import ConfigError
from novafleet.model.environment import Disk, Environment, Vm
from novafleet.model.facts import FileFact, HostFacts
from novafleet.model.plan import Reason

DEFAULT_POOL = "default"
DEFAULT_PATH = "/var/lib/libvirt/images"
DIGEST_SUFFIX = ".sha256"
PROTECTED_SUFFIX = ".protected"
PART = ".part."
"""Between a file's name and its writer's process id while it is being made."""

IMAGE_PREFIX = "novafleet-image-"
OVERLAY = re.compile(r"\.nf-[0-9a-f]{8}$")
"""What the overlay that a snapshot lays over a volume has at its end."""


def volume_of(path: str) -> str:
    """The volume an overlay stands for; any other path as it is."""
    return OVERLAY.sub("", path)


def on_overlay(path: str) -> bool:
    """Is it an overlay, so that the volume has snapshots?"""
    return OVERLAY.search(path) is not None


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
    return f"{pool_path(facts, DEFAULT_POOL)}/{IMAGE_PREFIX}{sha256}"


def seed_name(environment: str, vm: str) -> str:
    """``ENV.VM.seed.iso``."""
    return f"{environment}.{vm}.seed.iso"


def seed_path(facts: HostFacts, environment: str, vm: str) -> str:
    """Where a VM's cloud-init seed lies, in the default pool."""
    return f"{pool_path(facts, DEFAULT_POOL)}/{seed_name(environment, vm)}"


def serial_log(vm: Vm) -> str:
    """The host's file that the serial console is written to; emptied by libvirt at each start."""
    return vm.serial_log or f"/var/log/libvirt/qemu/{vm.domain}-serial.log"


def volume_size(fact: FileFact) -> int:
    """Bytes a guest sees; a raw file is as large as its disk."""
    return fact.virtual_size or fact.size


def volume_image(facts: HostFacts, path: str) -> str:
    """sha256 of the image a volume was made from: what was written beside it, or the name of its backing file."""
    recorded = facts.digests.get(path, "")
    if recorded or path not in facts.files:
        return recorded
    backing = facts.files[path].backing.rpartition("/")[2]
    return backing.removeprefix(IMAGE_PREFIX) if backing.startswith(IMAGE_PREFIX) else ""


def protected(facts: HostFacts, path: str) -> bool:
    """Was this volume marked as protected when it was made or last changed?"""
    return path + PROTECTED_SUFFIX in facts.files


def rebuild(environment: Environment, facts: HostFacts, disk: Disk) -> tuple[Reason, ...]:
    """Why an existing volume can become what the file says only by being made anew, its data lost; () otherwise."""
    path = volume_path(facts, disk)
    fact = facts.files.get(path)
    return tuple(_rebuild(environment, facts, disk, fact)) if fact is not None else ()


def _rebuild(environment: Environment, facts: HostFacts, disk: Disk, fact: FileFact) -> Iterator[Reason]:
    image = environment.images.get(disk.image)
    wanted = image.disk.sha256 if image is not None and image.disk is not None else ""
    made_from = volume_image(facts, fact.path)
    if wanted and made_from and wanted != made_from:
        before, after = f"sha256:{made_from[:12]}", f"sha256:{wanted[:12]}"
        yield Reason(f"image {disk.image}: {before} -> {after}", "image", before, after, disk.source)
    if fact.format and fact.format != disk.format:
        text = f"format: {fact.format} -> {disk.format}"
        yield Reason(text, "format", fact.format, disk.format, disk.source)
    if disk.size and disk.size < volume_size(fact):
        before, after = size_text(volume_size(fact)), size_text(disk.size)
        yield Reason(f"size: {before} -> {after}, a disk cannot shrink", "size", before, after, disk.source)


def size_text(count: int) -> str:
    """Bytes in the largest unit that divides them: ``256MiB``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"


def owner_of_volume(environment: Environment, path: str) -> tuple[str, str] | None:
    """(VM, disk) for a volume of this environment, finished or left half made; None for any other file."""
    pattern = rf"{re.escape(environment.name)}\.([^.]+)\.([^.]+)\.(?:qcow2|raw)(?:{re.escape(PART)}\d+)?"
    found = re.fullmatch(pattern, path.rpartition("/")[2])
    return (found[1], found[2]) if found else None


def owner_of_seed(environment: Environment, path: str) -> str | None:
    """The VM a seed (or its half made or digest file) belongs to; None for any other file."""
    pattern = rf"{re.escape(environment.name)}\.([^.]+)\.seed\.iso(?:{re.escape(PART)}\d+|\.sha256)?"
    found = re.fullmatch(pattern, path.rpartition("/")[2])
    return found[1] if found else None
