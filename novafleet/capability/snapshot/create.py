"""Taking one VM's snapshot: libvirt makes that of a running guest, we make that of one that is off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

from novafleet.capability.snapshot import note, xml
from novafleet.capability.snapshot.freeze import Freezer, Frozen
from novafleet.capability.snapshot.look import Survey, Taken, survey
from novafleet.capability.snapshot.note import Note
from novafleet.capability.snapshot.plan import CRASH, EXTERNAL, FS, INTERNAL, Creation, not_inside
from novafleet.capability.snapshot.prepare import Prepared, prepare, run_script
from novafleet.errors import HypervisorError
from novafleet.model.snapshot import SnapshotFlag
from novafleet.ports import ActionContext, Json, Outcome

UNSUPPORTED = "NF-LV-120"
REFUSALS = frozenset((UNSUPPORTED, "NF-LV-122", "NF-LV-124", "NF-LV-172"))
"""What libvirt's "I do not do that" becomes: 9.0 says it of VMs with checkpoints."""


async def create(ctx: ActionContext, args: Mapping[str, Json], freezer: Freezer) -> Outcome:
    """Make snapshot ``args["name"]`` of ``args["domain"]`` and thaw it. Raises SnapshotError NF-SNAP-003, -004, -006,
    -014, SpaceError NF-SNAP-007, and what libvirt raises."""
    label, held = args["label"], freezer.of(args["label"])
    try:
        prepared = freezer.prepared.pop(label, None) or await prepare(ctx, args)
        began, ended = await _make(ctx, args, held, prepared)
    finally:
        after = await freezer.thaw(ctx, label)
    if held.mode == FS and after.mode == CRASH:
        await _degrade(ctx, args, after.why)
        held = after
    frozen = (asyncio.get_running_loop().time() - held.since) if held.mode == FS else 0.0
    return {
        "snapshot": args["name"],
        "mode": held.mode,
        "why": held.why,
        "frozen": held.count,
        "frozen_seconds": round(frozen, 3),
        "began": began,
        "ended": ended,
    }


async def created(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    """Did this run make it already?"""
    found = (await survey(ctx, args["domain"])).find(args["name"])
    if found is None or found.note is None or found.note.run != ctx.run_id:
        return None
    return {"snapshot": found.name, "mode": found.note.mode, "why": found.note.why, "adopted": True}


async def _make(ctx: ActionContext, args: Mapping[str, Json], held: Frozen, prepared: Prepared) -> tuple[float, float]:
    clock = asyncio.get_running_loop().time
    began = clock()
    refused = await _inside(ctx, args, held, prepared) if prepared.creation.kind == INTERNAL else ""
    if prepared.creation.kind == EXTERNAL or refused:
        creation = replace(prepared.creation, kind=EXTERNAL, choice=refused or prepared.creation.choice)
        await _outside(ctx, args, held, Prepared(prepared.seen, creation))
    return began, clock()


async def _inside(ctx: ActionContext, args: Mapping[str, Json], held: Frozen, prepared: Prepared) -> str:
    """Inside the images; why this libvirt does not, empty when it did. Raises SnapshotError NF-SNAP-014 when nothing
    else was wanted."""
    seen, creation = prepared.seen, prepared.creation
    wanted = xml.internal(args["name"], _description(ctx, args, held, creation), seen.disks, creation.others)
    try:
        await ctx.hypervisor.create_snapshot(seen.domain.name, xml.text_of(wanted), SnapshotFlag.ATOMIC)
    except HypervisorError as error:
        if error.code not in REFUSALS:
            raise
        if creation.strict:
            raise not_inside(seen, error.cause) from error
        return f"libvirt makes none inside the images: {error.cause}"
    return ""


async def _outside(ctx: ActionContext, args: Mapping[str, Json], held: Frozen, prepared: Prepared) -> None:
    seen, creation = prepared.seen, prepared.creation
    wanted = xml.snapshot(
        args["name"], _description(ctx, args, held, creation), creation.overlays, creation.others, creation.memory
    )
    if seen.off:
        await _offline(ctx, seen, creation, wanted)
    else:
        flags = SnapshotFlag.LIVE if creation.memory else SnapshotFlag.DISK_ONLY
        await ctx.hypervisor.create_snapshot(seen.domain.name, xml.text_of(wanted), flags | SnapshotFlag.ATOMIC)


def _description(ctx: ActionContext, args: Mapping[str, Any], held: Frozen, creation: Creation) -> str:
    return note.write(
        Note(
            text=args.get("text", ""),
            mode=held.mode,
            asked=args["mode"] if args["mode"] != held.mode else "",
            why=held.why,
            run=ctx.run_id,
            group=args.get("group", ""),
            environment=args.get("environment", ""),
            tags=tuple(args.get("tags", ())),
            expires=float(args.get("expires", 0.0)),
            hold=bool(args.get("hold", False)),
            choice=creation.choice,
            copies=creation.copies,
            images={target: path for target, (path, _) in creation.under.items()},
        )
    )


async def _offline(ctx: ActionContext, seen: Survey, creation: Creation, wanted: Element) -> None:
    """Overlays, then the definition on them, then the record: cut off anywhere, no snapshot claims what may change."""
    words = [word for target, path in creation.overlays.items() for word in (path, *creation.under[target])]
    await run_script(ctx, "overlay.sh", *words)
    before = xml.on_images(xml.parse(seen.domain.xml), creation.under)
    after = xml.on_images(before, {target: (path, "qcow2") for target, path in creation.overlays.items()})
    await ctx.hypervisor.define_domain(xml.text_of(after))
    record = xml.record(wanted, before, seen.current, int(time.time()))
    await _record(ctx, seen.domain.name, record, SnapshotFlag.REDEFINE | SnapshotFlag.CURRENT)


async def _record(ctx: ActionContext, domain: str, record: Element, flags: SnapshotFlag) -> None:
    """Have libvirt keep a record. 9.0 takes none of a VM with checkpoints: they are put aside for that moment, their
    bitmaps are not. Cut off in between, the next backup reads the disks whole."""
    try:
        await ctx.hypervisor.create_snapshot(domain, xml.text_of(record), flags)
    except HypervisorError as error:
        checkpoints = await ctx.hypervisor.checkpoints(domain) if error.code == UNSUPPORTED else ()
        if not checkpoints:
            raise
        for each in reversed(checkpoints):
            await ctx.hypervisor.delete_checkpoint(domain, each.name, metadata_only=True)
        try:
            await ctx.hypervisor.create_snapshot(domain, xml.text_of(record), flags)
        finally:
            for each in checkpoints:
                await ctx.hypervisor.redefine_checkpoint(domain, each.xml)


async def _degrade(ctx: ActionContext, args: Mapping[str, Json], why: str) -> None:
    """Say in the snapshot that it is less than it was meant to be."""
    taken = (await survey(ctx, args["domain"])).find(args["name"])
    if taken is not None and taken.note is not None:
        text = note.write(replace(taken.note, mode=CRASH, asked=FS, why=why))
        await redefine(ctx, args["domain"], taken, xml.described(xml.parse(taken.fact.xml), text))


async def redefine(ctx: ActionContext, domain: str, taken: Taken, record: Element) -> None:
    """Replace what libvirt records of a snapshot."""
    flags = SnapshotFlag.REDEFINE | (SnapshotFlag.CURRENT if taken.fact.current else SnapshotFlag.NONE)
    await _record(ctx, domain, record, flags)
