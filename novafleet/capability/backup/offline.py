"""The disks of a VM that is off, exported by ``qemu-nbd`` on its host. The locks QEMU puts on images that are no raw
ones keep the VM from starting meanwhile; of raw ones we look whether they were written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from novafleet.capability.backup import xml
from novafleet.capability.backup.clean import forget_bitmaps, if_possible
from novafleet.capability.backup.export import Address
from novafleet.capability.backup.guard import end, guard
from novafleet.capability.backup.look import OFF, Sight, script
from novafleet.capability.backup.names import Names
from novafleet.capability.backup.order import Exported, Order
from novafleet.capability.backup.plan import DiskPlan
from novafleet.errors import BackupError, CommandError, Retry
from novafleet.model.backup import Consistency, Snapshot
from novafleet.model.command import Command
from novafleet.ports import ActionContext

MARK = 'qemu-img bitmap --add -f qcow2 "$1" "$2"'
WRITTEN = 'stat -c "%s %y" -- "$@"'


@asynccontextmanager
async def exported(
    ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], order: Order, checkpoint: str
) -> AsyncIterator[Exported]:
    """The disks, each with a new bitmap ``checkpoint`` already: what is written once the VM starts is recorded.

    Raises BackupError NF-BAK-015 when the VM was started meanwhile, NF-BAK-016 for a disk that is no file or device.
    """
    names = Names(sight.domain.uuid)
    paths = [_path(ctx, each) for each in plans]
    for each in plans:
        if each.marks:
            await ctx.session.run(Command.script(MARK, each.disk.path, checkpoint, become=True, mutates=True))
    before = await _written(ctx, paths)
    try:
        await _serve(ctx, sight, plans, order.heartbeat)
        addresses = {
            each.disk.target: Address(names.reader_socket(each.disk.target), each.disk.target, each.since)
            for each in plans
        }
        again = partial(_again, ctx, sight, plans, order.heartbeat)
        yield Exported(tuple(plans), consistency_of(sight), addresses, again)
        await _refuse_started(ctx, sight, unwritten=await _written(ctx, paths) == before)
    finally:
        await if_possible(ctx, end(ctx, names, *(names.reader(each.disk.target) for each in plans)))


def consistency_of(sight: Sight) -> Consistency:
    """Of a VM that is off. What one that sleeps has not written to its disks is in its managed save."""
    return Consistency.CRASH if sight.domain.saved else Consistency.OFFLINE


async def _serve(ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], heartbeat: str) -> None:
    """The guard first: what it watches over ends with it."""
    names = Names(sight.domain.uuid)
    await guard(ctx, sight, names.folder, heartbeat)
    for each in plans:
        disk = each.disk
        words = (names.reader(disk.target), names.guard, names.reader_socket(disk.target), disk.target, disk.format)
        image = disk.path.replace("$", "$$")
        await ctx.session.run(Command.script(script("serve.sh"), *words, image, each.since, become=True, mutates=True))


async def _again(ctx: ActionContext, sight: Sight, plans: Sequence[DiskPlan], heartbeat: str) -> str:
    """Export once more what the guard let go when our connection was lost; why that cannot be, or "". Whether anybody
    wrote to the images in between is seen at the end, as ever."""
    names = Names(sight.domain.uuid)
    units = [f"{each}.service" for each in (names.guard, *(names.reader(plan.disk.target) for plan in plans))]
    if (await ctx.session.run(Command(("systemctl", "-q", "is-active", units[0])), check=False)).ok:
        return ""
    ctx.progress("the connection was lost: exporting once more")
    await ctx.session.run(Command(("systemctl", "stop", *units), become=True, mutates=True), check=False)
    try:
        await _serve(ctx, sight, plans, heartbeat)
    except CommandError as error:
        return f"the connection was lost, and now {error.stderr.strip()[-200:]}"
    return ""


async def _written(ctx: ActionContext, paths: Sequence[str]) -> str:
    return (await ctx.session.run(Command.script(WRITTEN, *paths, become=True))).text


def _path(ctx: ActionContext, plan: DiskPlan) -> str:
    if plan.disk.path and not plan.disk.encrypted:
        return plan.disk.path
    why = "is encrypted" if plan.disk.encrypted else f"lies on {plan.disk.kind}"
    raise BackupError(
        f"disk {plan.disk.target} {why}, which can be read only while the VM runs",
        code="NF-BAK-016",
        where=ctx.host.name,
        hints=("start the VM and back it up then",),
    )


async def _refuse_started(ctx: ActionContext, sight: Sight, *, unwritten: bool) -> None:
    domain = await ctx.hypervisor.domain(sight.domain.name)
    if domain.state not in OFF or not unwritten:
        raise BackupError(
            f"{domain.name} was started while its disks were read",
            code="NF-BAK-015",
            where=ctx.host.name,
            cause=f"it is {domain.state} now",
            retry=Retry.NOW,
        )


async def forget(ctx: ActionContext, plans: Sequence[DiskPlan], checkpoint: str) -> None:
    """Remove a bitmap from images nobody uses; where there is none that is fine."""
    for each in plans:
        if each.marks:
            await forget_bitmaps(ctx, each.disk.path, [checkpoint])


async def introduce(ctx: ActionContext, sight: Sight, snapshot: Snapshot, checkpoint: str) -> None:
    """Make libvirt know a checkpoint whose bitmaps we made ourselves, for the backups of the running VM."""
    marked = [copy.target for copy in snapshot.disks.values() if copy.checkpoint]
    others = sorted({disk.target for disk in sight.disks} - set(marked))
    if marked:
        known = xml.known_checkpoint_xml(checkpoint, int(snapshot.at), marked, others)
        await ctx.hypervisor.redefine_checkpoint(sight.domain.name, known)
