"""What makes, grows and deletes the file of a volume. Every action may be repeated at will."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from novafleet.capability.volume.check import is_full, too_small
from novafleet.errors import CommandError, GuardError, ImageError, NotFoundError, SpaceError
from novafleet.model.command import Command, Completed
from novafleet.model.environment import Disk, Vm
from novafleet.model.plan import StepClass
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, PROTECTED_SUFFIX, image_path, volume_path
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry

DELETE = 'rm -f -- "$1" "$1".sha256 "$1".protected "$1".part.* "$1".nf-????????*'
PROTECT = 'if [ "$2" = yes ]; then : >"$1"; else rm -f -- "$1"; fi'
OFF = "shutoff"


async def create(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Make the volume of ``args["vm"]``, ``args["disk"]``; an existing file is left alone.

    Raises ConfigError NF-VOL-001 (smaller than its image), ImageError NF-VOL-002, SpaceError NF-VOL-005.
    """
    vm, disk = _disk(ctx, args)
    if disk.pool == DEFAULT_POOL and disk.pool not in ctx.facts.pools:
        await ctx.hypervisor.ensure_pool(DEFAULT_POOL, DEFAULT_PATH)
    path = volume_path(ctx.facts, disk)
    image, digest = _image(ctx, disk)
    form = await _image_format(ctx, vm, disk, image) if image else ""
    how = "full" if is_full(disk) else "overlay" if image else "blank"
    words = (path, disk.format, str(disk.size), how, image, form, digest, _yes(disk.protect))
    done = await _run(ctx, Command.script(_script("create.sh"), *words, become=True, mutates=True), path)
    return {"path": path, "made": done.text.strip() == "made"}


def _disk(ctx: ActionContext, args: Mapping[str, Json]) -> tuple[Vm, Disk]:
    vm = ctx.environment.vms[args["vm"]]
    return vm, vm.disks[args["disk"]]


def _image(ctx: ActionContext, disk: Disk) -> tuple[str, str]:
    """Path and digest of the image a disk is made from, or two empty strings."""
    image = ctx.environment.images.get(disk.image)
    if image is None or image.disk is None:
        return "", ""
    return image_path(ctx.facts, image.disk.sha256), image.disk.sha256


async def _image_format(ctx: ActionContext, vm: Vm, disk: Disk, path: str) -> str:
    declared = ctx.environment.images[disk.image].format
    info = await _info(ctx, path, declared)
    if info.get("backing-filename") or info.get("data-file"):
        raise ImageError(
            f"image {disk.image} needs another file",
            code="NF-VOL-002",
            where=ctx.host.name,
            cause=f"its header names {info.get('backing-filename') or info.get('data-file')}",
            hints=("qemu-img convert -O qcow2 IMAGE whole.qcow2   # makes it stand alone, then use that",),
        )
    if disk.size and disk.size < int(info["virtual-size"]):
        raise too_small(vm, disk, int(info["virtual-size"]))
    return str(info["format"])


async def _info(ctx: ActionContext, path: str, form: str = "") -> Mapping[str, Any]:
    """What ``qemu-img info`` says of a file that a running guest may have open."""
    chosen = ("-f", form) if form else ()
    done = await ctx.session.run(Command(("qemu-img", "info", "-U", "--output=json", *chosen, path), become=True))
    info: Mapping[str, Any] = json.loads(done.stdout)
    return info


async def _run(ctx: ActionContext, command: Command, path: str) -> Completed:
    try:
        return await ctx.session.run(command)
    except CommandError as error:
        if "No space left" not in error.stderr:
            raise
        raise SpaceError(
            f"no room for {path}",
            code="NF-VOL-005",
            where=ctx.host.name,
            cause=error.stderr.strip(),
            hints=(f"df -h {path.rpartition('/')[0]}   # on {ctx.host.name}; nothing half made was left there",),
        ) from error


async def resize(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Grow the volume to the file's size, in the running guest too; one that is as large is left alone."""
    vm, disk = _disk(ctx, args)
    path = volume_path(ctx.facts, disk)
    info = await _info(ctx, path)
    before = int(info["virtual-size"])
    if before >= disk.size:
        return {"before": before}
    await _refuse_snapshots(ctx, path)
    words: tuple[str, ...] = ("qemu-img", "resize", "-q", "-f", disk.format, path, str(disk.size))
    if await _in_use(ctx, vm, path):
        words = ("virsh", "-q", "-c", "qemu:///system", "blockresize", vm.domain, path, f"{disk.size}B")
    await _run(ctx, Command(words, become=True, mutates=True), path)
    return {"before": before, "after": disk.size}


async def _in_use(ctx: ActionContext, vm: Vm, path: str) -> bool:
    try:
        domain = await ctx.hypervisor.domain(vm.domain)
    except NotFoundError:
        return False
    return domain.state != OFF and path in domain.xml


async def protect(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Mark the volume as protected or not, as the file says; the mark outlives the file."""
    _, disk = _disk(ctx, args)
    mark = volume_path(ctx.facts, disk) + PROTECTED_SUFFIX
    await ctx.session.run(Command.script(PROTECT, mark, _yes(disk.protect), become=True, mutates=True))
    return {"protect": disk.protect}


async def delete(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Delete the file ``args["path"]`` and what lies beside it under its name; absent is fine.

    Raises GuardError NF-GUARD-006 while a domain is on a snapshot of it."""
    await _refuse_snapshots(ctx, args["path"])
    await ctx.session.run(Command.script(DELETE, args["path"], become=True, mutates=True))
    return {}


async def _refuse_snapshots(ctx: ActionContext, path: str) -> None:
    """Raise GuardError NF-GUARD-006 while a domain is on an overlay of a volume."""
    for domain in await ctx.hypervisor.domains():
        if f"{path}.nf-" in domain.xml:
            raise GuardError(
                f"{path} has snapshots",
                code="NF-GUARD-006",
                where=ctx.host.name,
                cause=f"{domain.name} is on an overlay of it",
                hints=(f"novafleet snapshot rm {ctx.host.name}/{domain.name} --all",),
            )


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


ACTIONS: Registry = {
    "volume.create": Action(create, StepClass.CONVERGENT),
    "volume.resize": Action(resize, StepClass.CONVERGENT),
    "volume.protect": Action(protect, StepClass.CONVERGENT),
    "volume.delete": Action(delete, StepClass.CONVERGENT),
}
