"""A VM with its snapshots into an archive. The VM is frozen in a snapshot of its own first: whatever it does meanwhile,
the images below that do not change any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novafleet.capability.snapshot import manifest, tidy
from novafleet.capability.snapshot.archive import PIECE, Writer, created
from novafleet.capability.snapshot.create import create
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.inventory import EXPORT, Contents, contents, layers, leaves, leftovers, select
from novafleet.capability.snapshot.look import Survey, Taken, script, survey
from novafleet.capability.snapshot.manifest import Manifest, Part
from novafleet.capability.snapshot.plan import EXTERNAL, nearest
from novafleet.errors import SnapshotError
from novafleet.model.command import Command
from novafleet.ports import ActionContext, Json, Outcome

A_DAY = 86400.0


async def export(ctx: ActionContext, args: Mapping[str, Json], freezer: Freezer) -> Outcome:
    """Write ``args["domain"]`` with its snapshots (``args["names"]``, empty: all) to the file ``args["path"]`` of this
    machine. ``args["now"]`` seconds since the epoch.

    Raises what making and removing a snapshot raise, SnapshotError NF-SNAP-002, -009, -011, -012.
    """
    seen = await survey(ctx, args["domain"])
    for name in args["names"]:
        nearest(seen, name)
    _refuse_detached(seen, args["names"])
    await tidy.forget(ctx, {**args, "names": list(leftovers(seen))})
    name = f"export-{args['token']}"
    words = _words(args, name)
    try:
        await freezer.ready(ctx, words)
        made = await create(ctx, words, freezer)
        return {**await _write(ctx, args, name, str(made["mode"])), "mode": made["mode"], "why": made["why"]}
    finally:
        await tidy.forget(ctx, {**args, "names": [name]})
        await tidy.tidy(ctx, args)


def _refuse_detached(seen: Survey, names: Sequence[str]) -> None:
    """Raise SnapshotError NF-SNAP-009 for a snapshot that holds a disk the VM does not have any more: its record alone
    would go along."""
    for taken in seen.snapshots:
        gone = sorted(taken.contents.keys() - seen.disks.keys())
        if gone and (not names or taken.name in names):
            raise SnapshotError(
                f"snapshot {taken.name} of {seen.domain.name} cannot go into an archive",
                code="NF-SNAP-009",
                cause=f"disk {gone[0]} was on {taken.contents[gone[0]].path} then, where the VM has no disk now",
                hints=("attach that disk again, or take only others along: --snapshot NAME",),
            )


def _words(args: Mapping[str, Json], name: str) -> Mapping[str, Any]:
    return {
        **args,
        "name": name,
        "kind": EXTERNAL,
        "text": "an export reads what lies under this",
        "tags": [EXPORT],
        "expires": args["now"] + A_DAY,
    }


async def _write(ctx: ActionContext, args: Mapping[str, Json], name: str, mode: str) -> Outcome:
    seen = await survey(ctx, args["domain"])
    frozen = nearest(seen, name)
    chosen = select(seen, frozen, args["names"])
    held = await _contents(ctx, seen, frozen, chosen, await _frame(ctx, seen, args["now"], mode))
    path = Path(args["path"])
    with created(path) as file:
        size = await _fill(ctx, Writer(file), held)
    return {"path": str(path), "bytes": size, "snapshots": [each.name for each in chosen]}


async def _frame(ctx: ActionContext, seen: Survey, now: float, mode: str) -> Manifest:
    libvirt, qemu = await ctx.hypervisor.version()
    domain = seen.domain
    return Manifest(domain.name, domain.uuid, ctx.host.name, now, mode, {}, (), libvirt=libvirt, qemu=qemu)


async def _contents(
    ctx: ActionContext, seen: Survey, frozen: Taken, chosen: Sequence[Taken], frame: Manifest
) -> Contents:
    formats = leaves(seen, (*chosen, frozen))
    words = [word for path, form in formats.items() for word in (form, path)]
    told = await ctx.session.run(Command.script(script("chain.sh"), *words, become=True))
    return contents(seen, frozen, chosen, layers(told.text), frame)


async def _fill(ctx: ActionContext, writer: Writer, held: Contents) -> int:
    parts = held.manifest.parts
    done, total = 0, sum(part.bytes for part in parts)
    for name, text in held.texts.items():
        await asyncio.to_thread(writer.put, name, text)
    for part in parts:
        await _pack(ctx, writer, part, held.paths[part.member], done, total)
        done += part.bytes
    await asyncio.to_thread(writer.put, manifest.NAME, manifest.write(held.manifest))
    return await asyncio.to_thread(writer.finish)


async def _pack(ctx: ActionContext, writer: Writer, part: Part, path: str, before: int, total: int) -> None:
    """One part, streamed through us."""
    said, count = bytearray(), 0
    await asyncio.to_thread(writer.begin, part.member)
    async with ctx.session.stream(Command.script(script("pack.sh"), path, part.file, become=True)) as running:
        held = bytearray()
        async for piece in running:
            into = held if piece.stream == 1 else said
            into += piece.data
            if len(held) >= PIECE:
                count += len(held)
                await asyncio.to_thread(writer.write, bytes(held))
                held.clear()
                ctx.progress(f"export {part.file}", min(before + count, total), total)
        await asyncio.to_thread(writer.write, bytes(held))
        status = await running.status()
    if status:
        cause = said.decode("utf-8", "replace").strip()[-400:]
        raise SnapshotError(
            f"{path} cannot be read",
            code="NF-SNAP-012",
            where=ctx.host.name,
            cause=cause or f"tar ended with {status}",
            hints=(f"tar -cf /dev/null {path}   # on {ctx.host.name}, as root",),
        )
    await asyncio.to_thread(writer.end)
