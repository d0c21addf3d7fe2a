"""Going back: new overlays over the snapshot's images, the definition of then, and the guest as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from xml.etree.ElementTree import Element

from novafleet.capability.snapshot import xml
from novafleet.capability.snapshot.create import redefine
from novafleet.capability.snapshot.inventory import bitmaps
from novafleet.capability.snapshot.look import Survey, Taken, script, survey
from novafleet.capability.snapshot.plan import Return, nearest, plan_return
from novafleet.capability.snapshot.prepare import refuse_asleep, refuse_jobs, run_script
from novafleet.capability.snapshot.xml import Disk
from novafleet.model.command import Command
from novafleet.ports import ActionContext, Json, Outcome

SLOW = 3600.0


async def stop(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Pull the plug of ``args["domain"]``: what it does now is given up, or in the safety snapshot."""
    await refuse_jobs(ctx, await survey(ctx, args["domain"]))
    await ctx.hypervisor.destroy_domain(args["domain"])
    return {}


async def switch(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Put ``args["domain"]``, which is off, on overlays of its own over snapshot ``args["name"]``; again is fine.

    Raises SnapshotError NF-SNAP-002, -009 and -017.
    """
    seen = await survey(ctx, args["domain"])
    refuse_asleep(ctx, seen)
    taken = nearest(seen, args["name"])
    wanted = plan_return(seen, taken, args["token"])
    words = [word for target, path in wanted.overlays.items() for word in (path, *wanted.under[target])]
    if taken.inside and seen.at_hand(taken):
        await _inside(ctx, seen, taken, runs=args.get("runs", True))
        return {"snapshot": args["name"]}
    if taken.inside:
        ctx.progress("copying it out of images that others lie over")
        # a comma would end the name: QEMU reads it doubled
        await run_script(ctx, "extract.sh", taken.name.replace(",", ",,"), *words)
    else:
        await run_script(ctx, "overlay.sh", *words)
    record = xml.parse(taken.fact.xml)
    for path in xml.extras(xml.definition(record)):
        if path in wanted.copies:
            await run_script(ctx, "copy.sh", wanted.copies[path], path)
    await ctx.hypervisor.define_domain(xml.text_of(_definition(seen, record, wanted)))
    await _make_current(ctx, seen, taken)
    return {"snapshot": args["name"]}


async def _inside(ctx: ActionContext, seen: Survey, taken: Taken, *, runs: bool) -> None:
    """Let libvirt put the images back. Nothing tells any more what changed since a backup: QEMU refuses while its
    bitmaps are there, and they would be wrong."""
    domain = seen.domain.name
    for checkpoint in await ctx.hypervisor.checkpoints(domain):
        await ctx.hypervisor.delete_checkpoint(domain, checkpoint.name, metadata_only=True)
    for disk in taken.inside.values():
        await forget_bitmaps(ctx, disk)
    await ctx.hypervisor.revert_snapshot(domain, taken.name)
    if not runs:
        await ctx.hypervisor.destroy_domain(domain)


async def forget_bitmaps(ctx: ActionContext, disk: Disk) -> None:
    """Remove every bitmap of an image nobody uses. Raises SnapshotError NF-SNAP-001."""
    if disk.format != "qcow2":
        return
    told = await ctx.session.run(Command.script(script("chain.sh"), disk.format, disk.path, become=True))
    names = bitmaps(told.text)
    if names:
        await run_script(ctx, "unmark.sh", disk.path, *names)


def _definition(seen: Survey, record: Element, wanted: Return) -> Element:
    """The definition of then on the new overlays; one that tells nothing leaves today's."""
    then = xml.definition(record)
    base = then if then.find("devices") is not None else xml.parse(seen.domain.xml)
    back = xml.on_images(base, {target: (path, "qcow2") for target, path in wanted.overlays.items()})
    for genid in back.iterfind("genid"):
        genid.text = None  # libvirt chooses another: the guest is to know that it has been here before
    return back


async def _make_current(ctx: ActionContext, seen: Survey, taken: Taken) -> None:
    """Snapshots from now on are its children."""
    current = replace(taken, fact=replace(taken.fact, current=True))
    await redefine(ctx, seen.domain.name, current, xml.parse(taken.fact.xml))


async def start(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Run ``args["domain"]`` again: from its saved memory where snapshot ``args["name"]`` has it, else by booting."""
    seen = await survey(ctx, args["domain"])
    taken = nearest(seen, args["name"])
    if not taken.memory:
        await ctx.hypervisor.start_domain(args["domain"])
        return {"booted": True}
    if seen.off:
        live = xml.on_images(xml.running(xml.parse(taken.fact.xml)), _today(seen))
        command = Command.script(script("restore.sh"), taken.memory, become=True, mutates=True)
        await ctx.session.run(command, stdin=xml.text_of(live).encode(), timeout=SLOW)
    return {"booted": False}


def _today(seen: Survey) -> Mapping[str, tuple[str, str]]:
    return {disk.target: (disk.path, disk.format) for disk in seen.disks.values()}


async def started(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    """Does it run already?"""
    return {"adopted": True} if (await ctx.hypervisor.domain_state(args["domain"])).state == "running" else None
