"""The backup of one VM: look, clean up, plan, freeze, read, commit, and only then let the old checkpoint go."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from novafleet.capability.backup import adopt, beside, offline, online
from novafleet.capability.backup.adopt import Keeper, Kept, Note
from novafleet.capability.backup.audit import missed
from novafleet.capability.backup.clean import clean, forget_checkpoint, if_possible, kept
from novafleet.capability.backup.export import opened
from novafleet.capability.backup.look import Sight, look
from novafleet.capability.backup.names import Names, checkpoint_name
from novafleet.capability.backup.order import Exported, Order
from novafleet.capability.backup.plan import DiskPlan, mending, plan, without
from novafleet.capability.backup.read import Reading, copy, read_again
from novafleet.capability.backup.xml import known_checkpoint_xml, left_out, sizes
from novafleet.errors import BackupError, HypervisorError, RepositoryError, UnreachableError
from novafleet.model.backup import Blob, Consistency, DiskCopy, Snapshot
from novafleet.model.command import Command
from novafleet.ports import ActionContext, BlockSource, Clock
from novafleet.repository.check import lost_of
from novafleet.repository.diskwriter import DiskWriter
from novafleet.repository.repository import Repository
from novafleet.repository.writer import Backup
from novafleet.together import together

log = logging.getLogger(__name__)

TOLD_EVERY = 0.25
"""Seconds between two words about progress."""
AT_ONCE = 1.0
"""Seconds after which a backup is noted for whoever may have to go on with it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A VM that was looked at and cleaned up, its newest snapshot, and how each disk is to be read. ``note`` is of the
    run that is taken up instead."""

    sight: Sight
    parent: Snapshot | None
    plans: tuple[DiskPlan, ...]
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One backup under way."""

    ctx: ActionContext
    clock: Clock
    repository: Repository
    order: Order
    prepared: Prepared
    checkpoint: str

    @property
    def sight(self) -> Sight:
        """The VM."""
        return self.prepared.sight


async def estimate(ctx: ActionContext, order: Order) -> tuple[Prepared, Mapping[str, int]]:
    """What a backup would do, and how many bytes it would read at most, by target. Changes nothing."""
    sight = await look(ctx, order.domain)
    prepared = _planned(ctx, sight, await order.history.newest(sight.domain.uuid), order)
    changed = await _changed(ctx, prepared) if sight.running else {}
    return prepared, {
        each.disk.target: changed.get(each.disk.target, 0) if each.since else each.image.allocated
        for each in prepared.plans
    }


async def _changed(ctx: ActionContext, prepared: Prepared) -> Mapping[str, int]:
    """libvirt counts what a checkpoint of a running VM records."""
    found: dict[str, int] = {}
    for name in {each.since for each in prepared.plans if each.since}:
        words = ("checkpoint-dumpxml", prepared.sight.domain.uuid, name, "--size", "--no-domain")
        done = await ctx.session.run(Command(("virsh", "-q", "-c", "qemu:///system", *words), become=True), check=False)
        found |= sizes(done.text) if done.ok else {}
    return found


async def back_up(ctx: ActionContext, repository: Repository, clock: Clock, order: Order) -> Snapshot:
    """Add a snapshot of one VM to the repository. The caller holds the VM's lease.

    Raises BackupError NF-BAK-01x, SpaceError NF-BAK-012, and what libvirt, SSH and the repository raise; the last
    backup is then still what the next one builds upon.
    """
    began = clock.now()
    prepared = await _prepare(ctx, repository, order)
    checkpoint = prepared.note.checkpoint if prepared.note else ""
    work = Work(ctx, clock, repository, order, prepared, checkpoint or checkpoint_name(repository.id, began))
    after = prepared.parent.id if prepared.parent else ""
    async with AsyncExitStack() as undo, repository.backup(clock, after=after) as store:
        undo.push_async_exit(partial(_undo, work))
        async with _exported(work) as export:
            snapshot = await _content(work, store, export)
            await store.flush()  # as long as the disks stand still, whoever comes after us can go on
        committed = await store.commit(replace(snapshot, seconds=clock.now() - began))
        undo.pop_all()
    await if_possible(ctx, _advance(work, committed))
    return committed


def _exported(work: Work) -> AbstractAsyncContextManager[Exported]:
    ctx, sight, prepared = work.ctx, work.sight, work.prepared
    if not prepared.plans:
        return _undisturbed(sight)
    if prepared.note is not None:
        return online.taken_up(ctx, sight, prepared.plans, prepared.note)
    if sight.running:
        return online.exported(ctx, sight, prepared.plans, work.order, work.checkpoint)
    return offline.exported(ctx, sight, prepared.plans, work.order, work.checkpoint)


@asynccontextmanager
async def _undisturbed(sight: Sight) -> AsyncIterator[Exported]:
    """A VM that keeps nothing on disks of its own: what is to be had is its definition and what lies beside it."""

    async def ended() -> str:
        return ""

    yield Exported((), Consistency.CRASH if sight.running else offline.consistency_of(sight), {}, ended)


async def _prepare(ctx: ActionContext, repository: Repository, order: Order) -> Prepared:
    sight = await look(ctx, order.domain)
    parent = await order.history.newest(sight.domain.uuid)
    prepared = await _taken_up(ctx, sight, parent, repository.id, order)
    if prepared is None:
        await clean(ctx, sight, repository.id, kept(parent))
        if sight.job is not None:
            sight = await look(ctx, order.domain)
        if sight.running and parent is not None:
            sight = await _relearnt(ctx, sight, parent)
        prepared = _planned(ctx, sight, parent, order)
    return replace(prepared, plans=tuple([await _mending(repository, parent, each) for each in prepared.plans]))


async def _taken_up(
    ctx: ActionContext, sight: Sight, parent: Snapshot | None, repository: str, order: Order
) -> Prepared | None:
    """A job whose controller is gone, at the moment it is of."""
    note = await adopt.found(ctx, sight, repository, order, parent)
    if note is None or sight.job is None:
        return None
    prepared = _planned(ctx, sight, parent, order)
    plans = adopt.taken_up(prepared.plans, sight.job.xml)
    if plans is None:
        return None
    ctx.progress("going on with the backup an earlier run began")
    return replace(prepared, plans=plans, note=note)


async def _mending(repository: Repository, parent: Snapshot | None, plan: DiskPlan) -> DiskPlan:
    if parent is None or plan.parent is None:
        return plan
    return mending(plan, await lost_of(repository, parent, plan.parent))


async def _relearnt(ctx: ActionContext, sight: Sight, parent: Snapshot) -> Sight:
    """libvirt forgets checkpoints when a VM is undefined or migrated; the bitmaps may still be in the images."""
    lost = kept(parent) - {each.name for each in sight.checkpoints}
    if not lost:
        return sight
    for name in lost:
        there = {disk.target for disk in sight.disks}
        marked = [each.target for each in parent.disks.values() if each.checkpoint == name and each.target in there]
        known = known_checkpoint_xml(name, int(parent.at), marked, sorted(there - set(marked)))
        try:
            await ctx.hypervisor.redefine_checkpoint(sight.domain.name, known, validate=True)
        except HypervisorError as error:
            ctx.progress(f"checkpoint {name} is lost: {error.what}")
    return replace(sight, checkpoints=await ctx.hypervisor.checkpoints(sight.domain.name))


def _planned(ctx: ActionContext, sight: Sight, parent: Snapshot | None, order: Order) -> Prepared:
    sight = replace(sight, disks=tuple(left_out(disk, order.exclude) for disk in sight.disks))
    plans = plan(sight.disks, sight.images, parent, sight.checkpoints, running=sight.running, full=order.full)
    for each in plans:
        if each.image.error:
            raise BackupError(
                f"the image of {each.disk.target} cannot be read",
                code="NF-BAK-017",
                where=f"{ctx.host.name}:{each.disk.path}",
                cause=each.image.error,
            )
    return Prepared(sight, parent, plans)


async def _content(work: Work, store: Backup, export: Exported) -> Snapshot:
    """Disks, and meanwhile what lies beside them; the host begins to watch over them as they are read."""
    frame = _frame(work, export, export.at or work.clock.now())
    ctx, sight, keeper = work.ctx, work.sight, _keeper(work, export, frame)
    read = asyncio.Event()
    disks, facts, files, *_ = await together(
        _copies(work, store, export, keeper, read),
        _facts(ctx, sight),
        _files(work, store),
        export.guard(),
        _noted(keeper, read),
    )
    return replace(frame, disks=disks, facts=facts, files=files)


def _keeper(work: Work, export: Exported, frame: Snapshot) -> Keeper | None:
    """Of a running VM only: nobody ends the job of one that is off but we."""
    if not work.sight.running:
        return None
    marked = any(each.marks for each in export.plans)
    note = work.prepared.note or Note(
        repository=work.repository.id,
        checkpoint=work.checkpoint if marked else "",
        at=frame.at,
        consistency=export.consistency,
        parent=frame.parent,
        full=work.order.full,
        exclude=work.order.exclude,
    )
    return Keeper(work.ctx, work.clock, Names(work.sight.domain.uuid), note, work.clock.monotonic())


async def _noted(keeper: Keeper | None, read: asyncio.Event) -> None:
    """A backup that is read at once leaves nothing worth going on with."""
    try:
        async with asyncio.timeout(AT_ONCE):
            await read.wait()
    except TimeoutError:
        if keeper is not None:
            await keeper.attempt()


async def _files(work: Work, store: Backup) -> Mapping[str, Blob]:
    found = await beside.files(work.ctx, work.sight)
    return {name: await store.blob(content) for name, content in found.items()}


def _frame(work: Work, export: Exported, at: float) -> Snapshot:
    """The snapshot without its content."""
    domain, order, parent = work.sight.domain, work.order, work.prepared.parent
    return Snapshot(
        id="",
        vm=order.vm,
        domain=domain.name,
        uuid=domain.uuid,
        host=work.ctx.host.name,
        at=at,
        consistency=export.consistency,
        environment=order.environment,
        parent=parent.id if parent is not None and not order.full else "",
        tags=order.tags,
    )


async def _copies(
    work: Work, store: Backup, export: Exported, keeper: Keeper | None, read: asyncio.Event
) -> Mapping[str, DiskCopy]:
    """One disk after the other: each is read with many requests under way. ``read`` is set at the end."""
    total, done, found = sum(each.image.size for each in export.plans), 0, {}
    for each in export.plans:
        tell = partial(Progress(work, each).tell, done, total)
        copied = found[each.disk.name] = await _copied(work, store, export, each, tell, keeper)
        done += each.image.size
        if keeper is not None:
            keeper.ended(each.disk.target, Kept(copied.root, copied.size, copied.size))
    read.set()
    return found


async def _copied(
    work: Work, store: Backup, export: Exported, plan: DiskPlan, tell: Any, keeper: Keeper | None
) -> DiskCopy:
    address = export.addresses[plan.disk.target]
    before = plan.parent.size if plan.parent is not None else 0
    reading = Reading(work.order.pace, tell, changes=bool(plan.since), before=before)
    async with opened(work.ctx.session, address, work.clock, export.ended) as source:
        plan, writer, begin = await _begun(work, store, plan, source.size)
        keep = partial(keeper.keep, plan.disk.target, writer, source.size) if keeper else None
        lost = await read_again(store, source, writer, plan.lost)
        copying = copy(source, source.size, writer, replace(reading, begin=begin, keep=keep))
        count, audited = await together(copying, _audited(work, source, plan))
        count += lost
        if plan.since and not audited.since:
            await keeper.drop(plan.disk.target) if keeper else None
            count += await copy(source, source.size, writer, replace(reading, changes=False))
        plan = audited
        root, stored = await writer.finish(source.size)
    return DiskCopy(
        name=plan.disk.name,
        target=plan.disk.target,
        size=source.size,
        root=root,
        format=plan.disk.format,
        path=plan.disk.path,
        mode=plan.mode,
        why=plan.why,
        checkpoint=work.checkpoint if plan.marks else "",
        bytes_read=count,
        bytes_stored=stored,
    )


async def _begun(work: Work, store: Backup, plan: DiskPlan, size: int) -> tuple[DiskPlan, DiskWriter, int]:
    """A disk to write, and the byte from which it is to be read: an earlier run may have stored its beginning."""
    kept = work.prepared.note.disks.get(plan.disk.target) if work.prepared.note else None
    if kept is not None and kept.size == size and 0 <= kept.upto <= size:
        copy = DiskCopy(plan.disk.name, plan.disk.target, size, kept.root)
        if (writer := await store.resume(copy, plan.parent)) is not None:
            why = f"{plan.why}; an earlier run had stored {kept.upto} bytes of it"
            return replace(plan, why=why), writer, kept.upto
    return plan, await store.disk(size, plan.parent), 0


async def _audited(work: Work, source: BlockSource, plan: DiskPlan) -> DiskPlan:
    """The plan, to read everything when its bitmap is caught at not telling. Damage of the last copy is told, and for
    a repair to mend: this backup is as good as it can be all the same."""
    if plan.parent is None or not plan.since or plan.lost:
        return plan
    try:
        place = await missed(source, await work.repository.disk(plan.parent), random.SystemRandom())
    except RepositoryError as error:
        log.warning("%s: the last copy of %s is damaged: %s", work.sight.domain.name, plan.disk.name, error)
        return replace(plan, why=f"{plan.why}; the last copy is damaged: {error.what}; repo repair --read-data")
    if place is None:
        return plan
    return without([plan], {plan.disk.target: f"its bitmap missed a change at byte {place}"})[0]


@dataclass(slots=True)
class Progress:
    """Tells how far one disk is, not too often."""

    work: Work
    plan: DiskPlan
    last: float = 0.0

    def tell(self, before: int, total: int, offset: int, size: int) -> None:
        """``offset`` of ``size`` bytes of this disk, after ``before`` bytes of others."""
        now = self.work.clock.monotonic()
        if offset == size or now - self.last >= TOLD_EVERY:
            self.last = now
            self.work.ctx.progress(f"{self.plan.disk.name}: {self.plan.mode}", before + offset, max(total, offset))


async def _facts(ctx: ActionContext, sight: Sight) -> Mapping[str, Any]:
    libvirt, qemu = await ctx.hypervisor.version()
    return {"libvirt": libvirt, "qemu": qemu, "state": sight.domain.state, "left_out": dict(sight.left_out)}


async def _undo(work: Work, _kind: object, error: BaseException | None, _trace: object) -> None:
    """Nothing was committed: what would have recorded the next changes goes, the old checkpoint stays. Where the
    connection was lost, the job of a running VM stays, and its checkpoint with it."""
    if work.sight.running and isinstance(error, UnreachableError):
        return
    if work.sight.running:
        domain = work.sight.domain.name
        await if_possible(work.ctx, forget_checkpoint(work.ctx, domain, work.checkpoint, running=True))
    else:
        await if_possible(work.ctx, offline.forget(work.ctx, work.prepared.plans, work.checkpoint))


async def _advance(work: Work, snapshot: Snapshot) -> None:
    """The repository has it: from here on only the new checkpoint counts."""
    sight, old = work.sight, kept(work.prepared.parent)
    if not sight.running:
        await offline.introduce(work.ctx, sight, snapshot, work.checkpoint)
        for name in old:
            await offline.forget(work.ctx, work.prepared.plans, name)
    for name in old & {each.name for each in sight.checkpoints}:
        await forget_checkpoint(work.ctx, sight.domain.name, name, running=sight.running)
