"""What would go wrong with a host's volumes, found before anything is touched. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from novafleet.errors import ConfigError, ConfigErrors, SpaceError
from novafleet.model.environment import Disk, Environment, Vm
from novafleet.model.facts import FileFact, HostFacts
from novafleet.plan.storage import image_path, size_text, volume_path, volume_size

METADATA = 1 << 20
"""Bytes a new qcow2 file takes before a guest has written anything; measured 192 KiB to 1 MiB."""


def check(environment: Environment, host: HostFacts) -> None:
    """Raise ConfigError NF-VOL-001, -003, -006 (ConfigErrors for several), SpaceError NF-VOL-004."""
    errors = tuple(_errors(environment, host))
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]
    _room(environment, host)


def disks(environment: Environment, host: HostFacts) -> Iterator[tuple[Vm, Disk]]:
    """The disks the file places on this host; those of a VM between two hosts are left alone."""
    placed = (vm for vm in environment.vms.values() if vm.host == host.host and not vm.between)
    return ((vm, disk) for vm in placed for disk in vm.disks.values())


def _errors(environment: Environment, host: HostFacts) -> Iterator[ConfigError]:
    for vm, disk in disks(environment, host):
        image = _image(environment, host, disk)
        if image is not None and disk.size and disk.size < volume_size(image):
            yield too_small(vm, disk, volume_size(image))
        if not disk.image and not disk.size:
            hints = (f"disks: {{{disk.name}: {{size: 10GiB}}}}",)
            what = f"disk {disk.name} of {vm.name} has neither an image nor a size"
            yield ConfigError(what, code="NF-VOL-006", where=disk.source, hints=hints)


def too_small(vm: Vm, disk: Disk, image_size: int) -> ConfigError:
    """NF-VOL-001: a disk cannot hold the image it is made from."""
    return ConfigError(
        f"disk {disk.name} of {vm.name} is smaller than its image {disk.image}",
        code="NF-VOL-001",
        where=disk.source,
        cause=f"{size_text(disk.size)} is less than {size_text(image_size)}",
        hints=(f"size: {size_text(image_size)}   # or leave `size` out: the image's own",),
    )


def _image(environment: Environment, host: HostFacts, disk: Disk) -> FileFact | None:
    image = environment.images.get(disk.image)
    if image is None or image.disk is None:
        return None
    return host.files.get(image_path(host, image.disk.sha256))


def _room(environment: Environment, host: HostFacts) -> None:
    needed: dict[str, int] = defaultdict(int)
    for _, disk in disks(environment, host):
        if volume_path(host, disk) not in host.files:
            needed[disk.pool] += METADATA + _copied(environment, host, disk)
    for name, count in needed.items():
        pool = host.pools.get(name)
        if pool is not None and pool.active and count > pool.available:
            raise SpaceError(
                f"pool {name!r} of {host.host} has not enough room for the new volumes",
                code="NF-VOL-004",
                where=host.host,
                cause=f"{_mib(count)} MiB are needed at once, {_mib(pool.available)} MiB are free",
                hints=(f"df -h {pool.path}   # on {host.host}", "copy: overlay   # shares the image's blocks"),
            )


def _copied(environment: Environment, host: HostFacts, disk: Disk) -> int:
    image = _image(environment, host, disk) if is_full(disk) else None
    return image.allocated if image is not None else 0


def is_full(disk: Disk) -> bool:
    """Is the image copied whole? A raw volume cannot be an overlay."""
    return bool(disk.image) and (disk.copy == "full" or disk.format == "raw")


def _mib(count: int) -> int:
    return -(-count >> 20)
