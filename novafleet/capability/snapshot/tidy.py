"""Deleting and merging the images nobody needs any more, one move at a time, each decided from a fresh look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from novafleet.capability.snapshot import note, xml
from novafleet.capability.snapshot.create import redefine
from novafleet.capability.snapshot.images import BEGUN, DONE, Move, next_move
from novafleet.capability.snapshot.look import Survey, Taken, survey
from novafleet.capability.snapshot.prepare import refuse_asleep, refuse_jobs, run_script
from novafleet.errors import SnapshotError
from novafleet.model.command import Command
from novafleet.ports import ActionContext, Json, Outcome

REMOVE = 'for path; do rm -rf -- "$path" "$path.merge" "$path.part"; done'
MARK = 'echo "$2" >"$1.merge" && sync -- "$1.merge"'
POLL = 0.1


def next_of(seen: Survey) -> Move | None:
    """What is left to do for a VM."""
    return next((move for family in seen.families() if (move := next_move(family)) is not None), None)


def strays(seen: Survey) -> tuple[str, ...]:
    """Saved memory and copied variables that no snapshot names."""
    named = {path for taken in seen.snapshots for path in taken.files}
    return tuple(sorted(seen.beside.keys() - named))


def pending(seen: Survey) -> bool:
    """Did a removal leave something to do?"""
    return next_of(seen) is not None or bool(strays(seen))


async def tidy(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Make every move that is left for ``args["domain"]``; what a killed run began is gone on with."""
    freed, merged, before = 0, 0, None
    while True:
        seen = await survey(ctx, args["domain"])
        if not seen.off:
            await refuse_jobs(ctx, seen)
            await _await_jobs(ctx, seen)
            seen = await survey(ctx, args["domain"])
        move = next_of(seen)
        if move is None:
            break
        refuse_asleep(ctx, seen)
        if move == before:
            raise _stuck(ctx, seen, move)
        before = move
        ctx.progress(f"{move.kind} {move.image}", 0, move.bytes)
        await _MOVES[move.kind](ctx, seen, move)
        freed += move.bytes if move.kind == "delete" else 0
        merged += move.bytes if move.kind in ("pivot", "commit", "fold") else 0
    await _remove(ctx, *strays(seen))
    return {"freed": freed, "merged": merged}


def _stuck(ctx: ActionContext, seen: Survey, move: Move) -> SnapshotError:
    return SnapshotError(
        f"the images of {seen.domain.name} cannot be put in order",
        code="NF-SNAP-008",
        where=ctx.host.name,
        cause=f"{move.kind} of {move.image} has no effect",
        hints=(f"tail /var/log/libvirt/qemu/{seen.domain.name}.log   # on {ctx.host.name}", "then the same again"),
    )


async def _await_jobs(ctx: ActionContext, seen: Survey) -> None:
    """Go on with jobs a killed run left in QEMU. Raises SnapshotError NF-SNAP-006 for another's."""
    for disk in seen.disks.values():
        job = await ctx.hypervisor.block_job(seen.domain.name, disk.target)
        if job is None:
            continue
        if job.kind not in ("commit", "active-commit"):
            raise SnapshotError(
                f"a {job.kind} job of disk {disk.name} of {seen.domain.name} is under way",
                code="NF-SNAP-006",
                where=ctx.host.name,
                hints=("try again when it has ended",),
            )
        await _finish(ctx, seen.domain.name, disk.target)


async def _delete(ctx: ActionContext, _seen: Survey, move: Move) -> None:
    await _remove(ctx, move.image)


async def _remove(ctx: ActionContext, *paths: str) -> None:
    if paths:
        await ctx.session.run(Command.script(REMOVE, *paths, become=True, mutates=True))


async def _pivot(ctx: ActionContext, seen: Survey, move: Move) -> None:
    """The running guest writes to ``into`` from now on."""
    await ctx.hypervisor.block_commit(seen.domain.name, move.target, top=move.image, base=move.into, active=True)
    await _finish(ctx, seen.domain.name, move.target)


async def _commit(ctx: ActionContext, seen: Survey, move: Move) -> None:
    mark = f"{BEGUN} {move.above}"
    await ctx.session.run(Command.script(MARK, move.image, mark, become=True, mutates=True))
    await ctx.hypervisor.block_commit(seen.domain.name, move.target, top=move.image, base=move.into)
    await _finish(ctx, seen.domain.name, move.target)
    await run_script(ctx, "fold.sh", move.image, move.into, DONE)


async def _finish(ctx: ActionContext, domain: str, target: str) -> None:
    """Wait for a commit's end and pivot when it is ready. Raises HypervisorError when QEMU gave it up."""
    while (job := await ctx.hypervisor.block_job(domain, target)) is not None:
        ctx.progress(f"merging {target}", job.done, job.total)
        if job.ready:
            await ctx.hypervisor.pivot_block_job(domain, target)
        await asyncio.sleep(POLL)


async def _fold(ctx: ActionContext, _seen: Survey, move: Move) -> None:
    await run_script(ctx, "fold.sh", move.image, move.into, BEGUN)


async def _settle(ctx: ActionContext, seen: Survey, move: Move) -> None:
    """Whoever used the image uses the one it was merged into; then it can go."""
    into = seen.images[move.into]
    above = [image.path for image in seen.images.values() if image.backing == move.image]
    if above:
        await run_script(ctx, "rebase.sh", into.path, into.format, *above)
    for taken in seen.snapshots:
        if any(disk.path == move.image for disk in taken.contents.values()):
            await _redirect(ctx, seen, taken, {move.image: (into.path, into.format)})
    if seen.configured.get(move.target) == move.image:
        definition = xml.on_images(xml.parse(seen.domain.xml), {move.target: (into.path, into.format)})
        await ctx.hypervisor.define_domain(xml.text_of(definition))
    await _remove(ctx, move.image)


async def _redirect(ctx: ActionContext, seen: Survey, taken: Taken, moved: Mapping[str, tuple[str, str]]) -> None:
    """Record that what a snapshot needs of some images is found in others (path, format)."""
    record = xml.parse(taken.fact.xml)
    images = {disk.target: moved.get(disk.path, (disk.path, disk.format)) for disk in taken.contents.values()}
    record = xml.recorded_on(record, images)
    if taken.note is not None:
        text = note.write(replace(taken.note, images={target: path for target, (path, _) in images.items()}))
        record = xml.described(record, text)
    await redefine(ctx, seen.domain.name, taken, record)


_MOVES: Mapping[str, Callable[[ActionContext, Survey, Move], Awaitable[None]]] = {
    "delete": _delete,
    "pivot": _pivot,
    "commit": _commit,
    "fold": _fold,
    "settle": _settle,
}


async def forget(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Make libvirt forget snapshots ``args["names"]`` of ``args["domain"]``; those inside images are deleted there.
    Absent ones are fine; children move to the parent."""
    removed = []
    for name in args["names"]:
        seen = await survey(ctx, args["domain"])
        taken = seen.find(name)
        if taken is not None:
            await refuse_jobs(ctx, seen)
            taken_out = not taken.inside or await _take_out(ctx, seen, taken)
            await ctx.hypervisor.delete_snapshot(seen.domain.name, name, metadata_only=taken_out)
            await _restore_children(ctx, seen, name)
            removed.append(name)
    return {"removed": removed}


async def _take_out(ctx: ActionContext, seen: Survey, taken: Taken) -> bool:
    """Out of the images of a VM that is off, which libvirt 9.0 refuses where there are checkpoints; False where libvirt
    is to do it. Raises SnapshotError NF-SNAP-014 while QEMU has them open under others."""
    if not removable(seen, taken):
        raise SnapshotError(
            f"snapshot {taken.name} of {seen.domain.name} cannot be removed while the VM runs",
            code="NF-SNAP-014",
            where=ctx.host.name,
            cause="it lies inside images that overlays of other snapshots lie over",
            hints=("remove those first, or stop the VM: novafleet snapshot tree",),
        )
    images = [disk.path for disk in taken.inside.values()]
    if not seen.off or not seen.images.keys() >= set(images):
        return False
    await run_script(ctx, "take_out.sh", taken.name, *images)
    return True


def removable(seen: Survey, taken: Taken) -> bool:
    """Not while QEMU has images open that it lies inside of, others over them."""
    return not taken.inside or seen.off or seen.at_hand(taken)


async def _restore_children(ctx: ActionContext, before: Survey, name: str) -> None:
    """libvirt 9.0 gives the children of a forgotten snapshot its own images: say again what theirs are."""
    after = await survey(ctx, before.domain.name)
    for child in [each for each in before.snapshots if each.fact.parent == name]:
        now, told = after.find(child.name), xml.contents(xml.parse(child.fact.xml))
        if now is not None and told != xml.contents(xml.parse(now.fact.xml)):
            await _redirect(ctx, after, replace(now, contents=child.contents), {})
