"""The disks of a running VM, frozen in one moment by a pull job and exported by its own QEMU.

https://libvirt.org/kbase/live_full_disk_backup.html, formatbackup.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from novafleet.capability.backup import plan as planning
from novafleet.capability.backup.adopt import Note
from novafleet.capability.backup.clean import if_possible, thawed
from novafleet.capability.backup.export import Address
from novafleet.capability.backup.guard import arm_thaw, end, guard, refuse_without_room, why_ended
from novafleet.capability.backup.hooks import in_guest
from novafleet.capability.backup.look import Sight, scratch_directory
from novafleet.capability.backup.names import Names
from novafleet.capability.backup.order import Exported, Order
from novafleet.capability.backup.plan import DiskPlan
from novafleet.errors import BackupError, HypervisorError, UnreachableError
from novafleet.model.backup import Consistency
from novafleet.nbd.pulljob import EXPORT_BITMAP, JobDisk, backup_xml, checkpoint_xml
from novafleet.ports import ActionContext
from novafleet.together import to_the_end

BROKEN = "NF-LV-171"
"""A bitmap that cannot be used."""


@asynccontextmanager
async def exported(
    ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], order: Order, checkpoint: str
) -> AsyncIterator[Exported]:
    """The frozen disks, and the new checkpoint from which their next changes are recorded. Whoever uses this deletes
    the checkpoint when what was read is not kept. Raises SpaceError NF-BAK-012, BackupError NF-BAK-014."""
    domain, names = sight.domain, Names(sight.domain.uuid)
    socket = names.socket(sight.home)
    async with _until_left(ctx, domain.name, names):
        refuse_without_room(ctx, sight)
        async with in_guest(ctx, order.hooks, domain.name) if order.hooks else nullcontext():
            consistency, plans = await _begin_anyhow(ctx, sight, plans, order, checkpoint)
        watch = partial(guard, ctx, sight, socket, order.heartbeat)
        addresses = _addresses(plans, socket)
        yield Exported(tuple(plans), consistency, addresses, partial(_ended, ctx, sight), guard=watch)


@asynccontextmanager
async def taken_up(ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], note: Note) -> AsyncIterator[Exported]:
    """The frozen disks of a job whose controller is gone; its guard watches over us now, by the same lease."""
    names = Names(sight.domain.uuid)
    async with _until_left(ctx, sight.domain.name, names):
        addresses = _addresses(plans, names.socket(sight.home))
        yield Exported(tuple(plans), note.consistency, addresses, partial(_ended, ctx, sight), note.at)


def _addresses(plans: Sequence[DiskPlan], socket: str) -> dict[str, Address]:
    return {each.disk.target: Address(socket, each.disk.target, EXPORT_BITMAP if each.since else "") for each in plans}


@asynccontextmanager
async def _until_left(ctx: ActionContext, domain: str, names: Names) -> AsyncIterator[None]:
    """Ends the job; not where the connection was lost, so that the next try goes on with it at the same moment."""
    try:
        yield
    except UnreachableError:
        raise
    except BaseException:
        await if_possible(ctx, _closed(ctx, domain, names))
        raise
    await if_possible(ctx, _closed(ctx, domain, names))


async def _closed(ctx: ActionContext, domain: str, names: Names) -> None:
    await to_the_end(ctx.hypervisor.abort_job(domain), end(ctx, names))


async def _ended(ctx: ActionContext, sight: Sight) -> str:
    """Why the job is over, or "" while it runs."""
    if await ctx.hypervisor.backup_job(sight.domain.name) is not None:
        return ""
    domain = await ctx.hypervisor.domain(sight.domain.name)
    return await why_ended(ctx, Names(domain.uuid)) or f"the job is over and the VM is {domain.state}"


async def _begin_anyhow(
    ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], order: Order, checkpoint: str
) -> tuple[Consistency, Sequence[DiskPlan]]:
    """Begin; where a bitmap turns out broken, find out which, and read that disk whole."""
    try:
        return await _begin(ctx, sight, plans, order, checkpoint), plans
    except HypervisorError as error:
        if error.code != BROKEN or not any(each.since for each in plans):
            raise
    await ctx.hypervisor.delete_checkpoint(sight.domain.name, checkpoint)
    plans = planning.without(plans, await _broken(ctx, sight, plans))
    return await _begin(ctx, sight, plans, order, checkpoint), plans


async def _broken(ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan]) -> Mapping[str, str]:
    """Try each bitmap alone: libvirt judges the whole job."""
    found = {}
    for each in plans:
        if not each.since:
            continue
        try:
            await ctx.hypervisor.begin_backup(sight.domain.name, _job(sight, [each]))
        except HypervisorError as error:
            if error.code != BROKEN:
                raise
            found[each.disk.target] = f"its bitmap {each.since} is missing or was not closed cleanly"
        else:
            await ctx.hypervisor.abort_job(sight.domain.name)
    return found


async def _begin(
    ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], order: Order, checkpoint: str
) -> Consistency:
    targets = {disk.target for disk in sight.disks}
    marked = [each.disk.target for each in plans if each.marks]
    mark = checkpoint_xml(checkpoint, marked, sorted(targets - set(marked))) if marked else ""
    async with _still(ctx, sight, order) as consistency:
        await ctx.hypervisor.begin_backup(sight.domain.name, _job(sight, plans), mark)
    return consistency


def _job(sight: Sight, plans: Sequence[DiskPlan]) -> str:
    names = Names(sight.domain.uuid)
    disks = [
        JobDisk(
            each.disk.target, names.scratch(scratch_directory(each.disk, sight.disks), each.disk.target), each.since
        )
        for each in plans
    ]
    others = sorted({disk.target for disk in sight.disks} - {each.target for each in disks})
    return backup_xml(disks, others, names.socket(sight.home))


@asynccontextmanager
async def _still(ctx: ActionContext, sight: Sight, order: Order) -> AsyncIterator[Consistency]:
    """The guest's file systems at rest, when its agent is there: only while the job begins."""
    if order.consistency == "crash" or (order.consistency == "auto" and not sight.around.agent):
        yield Consistency.CRASH
        return
    names = Names(sight.domain.uuid)
    await arm_thaw(ctx, names)
    try:
        yield await _frozen(ctx, sight, order)
    finally:
        await if_possible(ctx, thawed(ctx, names, sight.domain.name))  # else the unit does


async def _frozen(ctx: ActionContext, sight: Sight, order: Order) -> Consistency:
    try:
        await ctx.hypervisor.freeze(sight.domain.name)
    except HypervisorError as error:
        if order.consistency == "auto":
            ctx.progress(f"the guest cannot be frozen: {error.what}")
            return Consistency.CRASH
        raise BackupError(
            f"{sight.domain.name} cannot be frozen",
            code="NF-BAK-014",
            where=ctx.host.name,
            cause=str(error),
            hints=("apt-get install qemu-guest-agent   # in the guest", "or --consistency crash"),
        ) from error
    return Consistency.FS
