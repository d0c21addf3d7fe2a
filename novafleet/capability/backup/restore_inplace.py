"""Disks of a snapshot in the place of those a VM has: it must be off, and what it has is kept beside them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.look import OFF, script
from novafleet.capability.backup.pour import content
from novafleet.capability.backup.restore import Restored
from novafleet.capability.backup.restore_check import refuse_full
from novafleet.capability.backup.restore_disks import Progress, write_disks
from novafleet.capability.backup.restore_names import FORMATS, Names, Order
from novafleet.capability.backup.restore_xml import NewDisk, needs, renew
from novafleet.capability.backup.xml import GuestDisk, around, disks_of, parse
from novafleet.errors import BackupError, CommandError, Retry
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.ports import ActionContext
from novafleet.repository.repository import Repository

IN_USE = 75
KEPT_DAYS = 14
KEEP_FILE = 'if [ -e "$1" ]; then cp -p -- "$1" "$1$2"; fi'


@dataclass(frozen=True, slots=True)
class Exchange:
    """One disk: what is restored, and the image it replaces."""

    copy: DiskCopy
    image: NewDisk


async def restore_in_place(
    ctx: ActionContext, repository: Repository, snapshot: Snapshot, name: str, copies: Sequence[DiskCopy], at: float
) -> Restored:
    """Give an existing VM that is off these disks back; all of them bring firmware variables along.

    Raises NotFoundError, BackupError NF-BAK-036, -037, -039, SpaceError NF-BAK-035, and what libvirt, SSH and the
    repository raise; then the VM is as it was.
    """
    domain = await _at_rest(ctx, name)
    exchanges = _exchanges(ctx, copies, disks_of(domain.xml))
    names = Names(ctx.host.name, Order(name, "", 0), {each.copy.target: each.image for each in exchanges})
    await _tidy(ctx, names, exchanges)
    kept = f".before-{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"
    sources = {copy.name: await repository.disk(copy) for copy in copies}
    progress = Progress(ctx, sum([await content(source) for source in sources.values()]))
    await _refuse_full(ctx, exchanges, progress.total)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_undo, ctx, names, exchanges)
        disks = await write_disks(ctx, names, {copy.name: copy for copy in copies}, sources, progress)
        await _at_rest(ctx, name)
        await _exchange(ctx, names, exchanges, kept)
        definition = parse(domain.xml)
        if renew(definition):
            await ctx.hypervisor.define_domain(ElementTree.tostring(definition, encoding="unicode"))
        undo.pop_all()
    notes = [f"what {each.copy.name} was is kept {KEPT_DAYS} days: {each.image.path}{kept}" for each in exchanges]
    if len(copies) == len(snapshot.disks):
        notes += await _nvram(ctx, repository, snapshot, around(domain.xml).nvram, kept)
    if await ctx.hypervisor.snapshots(name):
        notes.append("its libvirt snapshots are in the disks that were kept, not in those restored")
    await if_possible(ctx, _tidy(ctx, names, exchanges))
    return Restored(name, domain.uuid, disks, tuple(sorted(needs(domain.xml).macs)), started=False, notes=tuple(notes))


def _exchanges(ctx: ActionContext, copies: Sequence[DiskCopy], disks: Sequence[GuestDisk]) -> list[Exchange]:
    there = {disk.target: disk for disk in disks if not disk.skip}
    found = []
    for copy in copies:
        disk = there.get(copy.target)
        if disk is None or disk.kind != "file" or disk.format not in FORMATS or disk.encrypted:
            form = "encrypted" if disk and disk.encrypted else disk.format if disk else ""
            what = f"a {form} disk on a {disk.kind}" if disk else "not there"
            raise BackupError(
                f"disk {copy.target} cannot be exchanged in place",
                code="NF-BAK-037",
                where=ctx.host.name,
                cause=f"the VM's {copy.target} is {what}",
                hints=(f"--disk {copy.name} --to-file PATH   # the disk alone, to do with it what you want",),
                retry=Retry.AFTER_FIX,
            )
        found.append(Exchange(copy, NewDisk(disk.path, disk.format)))
    return found


async def _at_rest(ctx: ActionContext, name: str) -> Domain:
    """A VM that is off, and has nothing in memory that belongs to the disks it has."""
    state = (await ctx.hypervisor.domain_state(name)).state
    if state not in OFF:
        raise _running(ctx, name, f"it is {state}")
    domain = await ctx.hypervisor.domain(name)
    if domain.saved:
        raise BackupError(
            f"the disks of {name} cannot be exchanged while it sleeps in a managed save",
            code="NF-BAK-036",
            where=ctx.host.name,
            cause="its next start goes on with the memory of then, and would write that into the disks restored",
            hints=(f"virsh managedsave-remove {name}   # its memory is lost", "or restore a copy: --as NAME"),
            retry=Retry.AFTER_FIX,
        )
    return domain


def _running(ctx: ActionContext, name: str, cause: str) -> BackupError:
    return BackupError(
        f"the disks of {name} cannot be exchanged while it runs",
        code="NF-BAK-036",
        where=ctx.host.name,
        cause=cause,
        hints=(f"novafleet host exec -l {ctx.host.name} -- virsh shutdown {name}", "or restore a copy: --as NAME"),
        retry=Retry.AFTER_FIX,
    )


async def _refuse_full(ctx: ActionContext, exchanges: Sequence[Exchange], total: int) -> None:
    for directory in {each.image.path.rpartition("/")[0] for each in exchanges}:
        said = await ctx.session.run(Command(("stat", "-f", "-c", "%a %S", "--", directory), become=True))
        blocks, _, size = said.text.strip().partition(" ")
        free = int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
        refuse_full(ctx, directory, free, total)


async def _exchange(ctx: ActionContext, names: Names, exchanges: Sequence[Exchange], kept: str) -> None:
    words = [word for each in exchanges for word in (names.part(each.copy), each.image.path, each.image.format)]
    try:
        await ctx.session.run(Command.script(script("restore_exchange.sh"), kept, *words, become=True, mutates=True))
    except CommandError as error:
        if error.status == IN_USE:
            raise _running(ctx, names.order.name, "another program has one of its images open") from error
        raise


async def _nvram(ctx: ActionContext, repository: Repository, snapshot: Snapshot, path: str, kept: str) -> Sequence[str]:
    if not path or "nvram" not in snapshot.files:
        return ()
    await ctx.session.run(Command.script(KEEP_FILE, path, kept, become=True, mutates=True))
    await ctx.session.push(await repository.blob(snapshot.files["nvram"]), path, mode=0o600, become=True)
    return (f"what its firmware's variables were: {path}{kept}",)


async def _tidy(ctx: ActionContext, names: Names, exchanges: Sequence[Exchange]) -> None:
    images = [each.image.path for each in exchanges]
    words = (names.unit, names.folder, names.prefix, str(KEPT_DAYS * 1440), *images)
    await ctx.session.run(Command.script(script("restore_tidy.sh"), *words, become=True, mutates=True))


async def _undo(ctx: ActionContext, names: Names, exchanges: Sequence[Exchange]) -> None:
    await if_possible(ctx, _tidy(ctx, names, exchanges))
