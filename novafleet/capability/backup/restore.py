"""A VM out of a repository on a host: its disks written through our SSH connection, then its definition."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.look import script
from novafleet.capability.backup.pour import content
from novafleet.capability.backup.restore_check import fitting, refuse_files, refuse_full
from novafleet.capability.backup.restore_disks import Progress, RestoredDisk, write_disks
from novafleet.capability.backup.restore_names import Names, Order
from novafleet.capability.backup.restore_xml import Fitted
from novafleet.capability.backup.xml import around, parse
from novafleet.model.backup import Snapshot
from novafleet.model.command import Command
from novafleet.plan.firmware import NVRAM
from novafleet.ports import ActionContext
from novafleet.repository.repository import Repository
from novafleet.swtpm import own

FORGET = 'rm -rf -- "$@"'
FOLDER = 'mkdir -p -- "$1"'
UNPACK = 'rm -rf -- "$1" && mkdir -m 711 -p -- "$1" && exec tar -xf - -C "$1" --strip-components=1 --no-same-owner'


@dataclass(frozen=True, slots=True)
class Restored:
    """A VM on a host. ``notes``: what is not as it was."""

    name: str
    uuid: str
    disks: tuple[RestoredDisk, ...]
    macs: tuple[str, ...]
    started: bool
    notes: tuple[str, ...] = ()


async def restore_vm(ctx: ActionContext, repository: Repository, snapshot: Snapshot, order: Order) -> Restored:
    """Make the VM of a snapshot on this host. The caller holds the lease of that name.

    Raises BackupError NF-BAK-030, -033, -034, -039, SpaceError NF-BAK-035, BlockError, and what libvirt and the
    repository raise; then nothing of it is left, or the next restore under that name removes it.
    """
    names = Names(ctx.host.name, order)
    files = {name: await repository.blob(blob) for name, blob in snapshot.files.items()}
    fitted = await fitting(ctx, snapshot, names, files)
    refuse_files(ctx, await clean(ctx, names, snapshot))
    sources = {copy.name: await repository.disk(copy) for copy in snapshot.disks.values()}
    progress = Progress(ctx, sum([await content(source) for source in sources.values()]))
    refuse_full(ctx, order.pool, order.free, progress.total)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(undo_restore, ctx, names, snapshot)
        disks = await write_disks(ctx, names, snapshot.disks, sources, progress)
        uuid = await announce(ctx, names, snapshot, fitted, files, undo)
        undo.pop_all()
    parts = [names.part(copy) for copy in snapshot.disks.values()]
    await if_possible(ctx, forget(ctx, names.folder, *parts))
    if order.start:
        await ctx.hypervisor.start_domain(order.name)
    return Restored(order.name, uuid, disks, fitted.macs, order.start, fitted.notes)


async def clean(ctx: ActionContext, names: Names, snapshot: Snapshot) -> tuple[str, ...]:
    """Remove what an unfinished restore under this name left; the files that are in the way of a new one."""
    finals = [names.final(copy).path for copy in snapshot.disks.values()]
    words = (names.unit, names.folder, names.order.pool, names.prefix, *finals)
    done = await ctx.session.run(Command.script(script("restore_clean.sh"), *words, become=True, mutates=True))
    return tuple(line.partition(" ")[2] for line in done.text.splitlines() if line.startswith("there "))


async def undo_restore(ctx: ActionContext, names: Names, snapshot: Snapshot) -> None:
    """Remove what was made so far, as far as the host can be reached."""
    await if_possible(ctx, clean(ctx, names, snapshot))


async def announce(
    ctx: ActionContext,
    names: Names,
    snapshot: Snapshot,
    fitted: Fitted,
    files: Mapping[str, bytes],
    undo: AsyncExitStack,
) -> str:
    """Finished disks get their names, what lies beside them comes along, libvirt learns of the VM; its UUID."""
    uuid = await _put_beside(ctx, fitted, files, undo)
    await _publish(ctx, names, snapshot)
    await ctx.hypervisor.define_domain(fitted.xml)
    return uuid


async def _put_beside(ctx: ActionContext, fitted: Fitted, files: Mapping[str, bytes], undo: AsyncExitStack) -> str:
    """Firmware variables and TPM state, where the new definition says; the VM's UUID."""
    uuid, needed = parse(fitted.xml).findtext("uuid", ""), around(fitted.xml)
    if needed.nvram and "nvram" in files:
        await ctx.session.run(Command.script(FOLDER, NVRAM, become=True, mutates=True))
        undo.push_async_callback(_drop, ctx, needed.nvram)
        await ctx.session.push(files["nvram"], needed.nvram, mode=0o600, become=True)
    if needed.tpm and "tpm.tar" in files:
        undo.push_async_callback(_drop, ctx, needed.tpm)
        put = Command.script(UNPACK, needed.tpm, become=True, mutates=True)
        await ctx.session.run(put, stdin=files["tpm.tar"])
        await ctx.session.run(own(needed.tpm))
    return uuid


async def _publish(ctx: ActionContext, names: Names, snapshot: Snapshot) -> None:
    pairs = [word for copy in snapshot.disks.values() for word in (names.part(copy), names.final(copy).path)]
    await ctx.session.run(Command.script(script("restore_publish.sh"), *pairs, become=True, mutates=True))


async def _drop(ctx: ActionContext, path: str) -> None:
    await if_possible(ctx, forget(ctx, path))


async def forget(ctx: ActionContext, *paths: str) -> None:
    """Remove files; absent is fine."""
    await ctx.session.run(Command.script(FORGET, *paths, become=True, mutates=True))
