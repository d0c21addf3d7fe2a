"""One look at a VM before its backup: libvirt's words and, in one command, the host's."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from novafleet.capability.backup import xml
from novafleet.capability.backup.image import Image, Looked, read
from novafleet.capability.backup.xml import Around, GuestDisk
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.model.snapshot import BackupJob, Checkpoint
from novafleet.nbd.pulljob import home_of
from novafleet.ports import ActionContext
from novafleet.together import together

OFF = frozenset(("shutoff", "crashed"))
"""States without a QEMU process."""
SOMEWHERE = "/var/lib/libvirt/images"
"""Where the scratch of a disk goes that has no directory, such as one on LVM or Ceph."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A VM as it stands. ``disks`` are all of them; ``xml`` is what runs, or the definition of one that is off."""

    domain: Domain
    xml: str
    disks: tuple[GuestDisk, ...]
    around: Around
    home: str
    images: Mapping[str, Image]
    checkpoints: tuple[Checkpoint, ...]
    job: BackupJob | None

    @property
    def running(self) -> bool:
        """It has a QEMU process, running or paused."""
        return self.domain.state not in OFF

    @property
    def copied(self) -> tuple[GuestDisk, ...]:
        """The disks that are backed up."""
        return tuple(disk for disk in self.disks if not disk.skip)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a disk, by target, is not, nor a folder or file the guest writes to, by path."""
        return {disk.target: disk.skip for disk in self.disks if disk.skip} | xml.beside(self.xml)

    @property
    def scratch_directories(self) -> tuple[str, ...]:
        """Where scratch files may be."""
        return tuple(sorted({scratch_directory(disk, self.disks) for disk in self.disks}))


@cache
def script(name: str) -> str:
    """The text of one of this package's scripts."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def scratch_directory(disk: GuestDisk, disks: Sequence[GuestDisk]) -> str:
    """Beside the disk; for one without a directory, beside another of the VM."""
    beside = [each.path for each in (disk, *disks) if each.kind == "file" and not each.skip and "/" in each.path]
    return beside[0].rpartition("/")[0] if beside else SOMEWHERE


async def look(ctx: ActionContext, name: str) -> Sight:
    """Ask libvirt and the host. Raises NotFoundError for a domain that is not there."""
    domain = await ctx.hypervisor.domain(name)
    running = domain.state not in OFF
    definition = (await ctx.hypervisor.running_xml(name) if running else "") or domain.xml
    disks = tuple([await _located(ctx, disk) for disk in xml.disks_of(definition)])
    seen, checkpoints, job = await together(
        _images(ctx, home_of(xml.domain_id(definition), domain.name) if running else "", disks),
        ctx.hypervisor.checkpoints(name),
        ctx.hypervisor.backup_job(name) if running else _no_job(),
    )
    around = xml.around(definition)
    return Sight(domain, definition, disks, around, seen.home, seen.images, checkpoints, job)


async def _no_job() -> None:
    """What is off has none."""


async def _located(ctx: ActionContext, disk: GuestDisk) -> GuestDisk:
    """A volume of a pool is a file (or a device) like any other."""
    if disk.volume is None or disk.skip:
        return disk
    pool, volume = disk.volume
    asked = ("virsh", "-q", "-c", "qemu:///system", "vol-path", "--pool", pool, "--vol", volume)
    path = (await ctx.session.run(Command(asked, become=True), timeout=60.0)).text.strip()
    return replace(disk, path=path, kind="block" if path.startswith("/dev/") else "file")


async def _images(ctx: ActionContext, home: str, disks: Sequence[GuestDisk]) -> Looked:
    mark = f"@@{secrets.token_hex(8)}"
    words = [
        word
        for disk in disks
        if not disk.skip
        for word in (disk.target, disk.format, disk.path, scratch_directory(disk, disks))
    ]
    answer = await ctx.session.run(Command.script(script("look.sh"), mark, home, *words, become=True), timeout=120.0)
    return read(answer.text, mark)
