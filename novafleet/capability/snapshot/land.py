"""A VM with its snapshots out of an archive, on a host: all is unpacked and checked before libvirt hears of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from novafleet.capability.snapshot import arrive, xml
from novafleet.capability.snapshot.archive import Reader
from novafleet.capability.snapshot.arrive import Fit, Place
from novafleet.capability.snapshot.look import OFF, script, survey
from novafleet.capability.snapshot.manifest import ImagePart, Manifest, Part, SnapshotPart
from novafleet.capability.snapshot.prepare import run_script
from novafleet.capability.snapshot.tidy import REMOVE, tidy
from novafleet.errors import CommandError, NotFoundError, NovaFleetError, SnapshotError, SpaceError
from novafleet.model.command import Command
from novafleet.model.snapshot import SnapshotFlag
from novafleet.plan.firmware import TPM_STATE
from novafleet.ports import ActionContext, Outcome
from novafleet.swtpm import own

log = logging.getLogger(__name__)

BEGUN = 'cat -- "$1/uuid" 2>/dev/null || true'
MARK = 'printf %s "$2" >"$1/uuid" && sync -f -- "$1"'
NAME = 'while [ $# -gt 1 ]; do ln -- "$1" "$2" && sync -f -- "$2" || exit; shift 2; done'
SPARE = 64 << 20
"""Bytes that stay free in a pool."""


async def sweep(ctx: ActionContext, manifest: Manifest, place: Place) -> None:
    """Remove what an import under this name left when it was killed. Raises SnapshotError NF-SNAP-013 for a VM of it
    that was started meanwhile, and for files in the way."""
    asked = Command.script(BEGUN, place.folder, become=True)
    uuid = (await ctx.session.run(asked)).text.strip()
    if uuid:
        await _forget(ctx, place, uuid)
    done = await run_script(ctx, "land_clean.sh", place.folder, *_finals(manifest, place))
    there = [line.removeprefix("there ") for line in done.splitlines() if line.startswith("there ")]
    if there:
        raise _in_the_way(ctx, there[0], "choose another name with --as, or see whose it is and remove it")


async def _forget(ctx: ActionContext, place: Place, uuid: str) -> None:
    try:
        domain = await ctx.hypervisor.domain_state(place.name)
    except NotFoundError:
        return
    if domain.uuid == uuid and domain.state in OFF:
        await ctx.hypervisor.undefine_domain(place.name)
    elif domain.uuid == uuid:
        raise _in_the_way(ctx, f"VM {place.name}, of an import that was cut off, runs and", "stop it: virsh destroy")


def _in_the_way(ctx: ActionContext, what: str, hint: str) -> SnapshotError:
    return SnapshotError(f"{what} is there already", code="NF-SNAP-013", where=ctx.host.name, hints=(hint,))


def _finals(manifest: Manifest, place: Place) -> list[str]:
    images = [place.final(manifest, image.part.member)[0] for image in manifest.images]
    return [*images, *(path for each in manifest.snapshots if (path := place.memory(each)))]


async def land(ctx: ActionContext, reader: Reader, manifest: Manifest, place: Place, fit: Fit) -> Outcome:
    """Make the VM of an archive after ``sweep``. Raises SnapshotError NF-SNAP-010, -012, SpaceError NF-SNAP-007 and
    what libvirt raises; then nothing of it is left, or the next import under that name removes it."""
    _refuse_full(ctx, manifest, place)
    definition = arrive.closed(_text(reader, manifest.definition), frozenset(manifest.active))
    fitted = fit(definition.xml, place.images(manifest, manifest.active))
    records = [arrive.record(_text(reader, each.record), each, manifest, place, fit) for each in manifest.snapshots]
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_clean, ctx, manifest, place)
        await _unpack_all(ctx, reader, manifest, place)
        await _put_beside(ctx, manifest, place, xml.parse(fitted), undo)
        links = [word for part, final in _links(manifest, place) for word in (part, final)]
        await ctx.session.run(Command.script(NAME, *links, become=True, mutates=True))
        uuid = xml.parse(fitted).findtext("uuid", "")
        await ctx.session.run(Command.script(MARK, place.folder, uuid, become=True, mutates=True))
        undo.push_async_callback(_undefine, ctx, place)
        await ctx.hypervisor.define_domain(fitted)
        for each, tree in zip(manifest.snapshots, records, strict=True):
            current = SnapshotFlag.CURRENT if each.current else SnapshotFlag.NONE
            await ctx.hypervisor.create_snapshot(place.name, xml.text_of(tree), SnapshotFlag.REDEFINE | current)
        await tidy(ctx, {"domain": place.name})
        landed = await _landed(ctx, manifest, place, definition.notes)
        undo.pop_all()
    await ctx.session.run(Command.script(REMOVE, place.folder, become=True, mutates=True))
    return landed


async def _landed(ctx: ActionContext, manifest: Manifest, place: Place, notes: tuple[str, ...]) -> Outcome:
    seen = await survey(ctx, place.name)
    lost = [each.name for each in manifest.snapshots if each.memory and not place.memory(each)]
    return {
        "name": place.name,
        "uuid": seen.domain.uuid,
        "disks": {disk.name: disk.path for disk in seen.disks.values()},
        "snapshots": [each.name for each in seen.snapshots],
        "notes": [*notes, *(f"snapshot {name} comes without its {arrive.LOST}" for name in lost)],
    }


def _refuse_full(ctx: ActionContext, manifest: Manifest, place: Place) -> None:
    needed = sum(part.bytes for part in manifest.parts) + SPARE
    if place.free and needed > place.free:
        pool = place.folder.rpartition("/")[0]
        raise SpaceError(
            "no room for the VM",
            code="NF-SNAP-007",
            where=f"{ctx.host.name}:{pool}",
            cause=f"{needed >> 20} MiB are needed, {place.free >> 20} MiB are free",
            hints=("choose another pool: --pool NAME",),
        )


def _text(reader: Reader, member: str) -> str:
    content = reader.read(member)
    if not arrive.without_types(content):
        raise reader.bad(f"{member} has a document type")
    return content.decode("utf-8", "replace")


def _beside(manifest: Manifest, place: Place) -> Iterator[Part]:
    """What is unpacked beside the images."""
    yield from (part for part in (manifest.nvram, manifest.tpm) if part is not None)
    for each in manifest.snapshots:
        yield from (part for part in (each.nvram, each.tpm) if part is not None)
        if each.memory is not None and place.memory(each):
            yield each.memory


def _unpacked(place: Place, part: Part) -> str:
    """Where a part lies until it gets its name."""
    return f"{_folder(place, part)}/{part.file}"


def _folder(place: Place, part: Part) -> str:
    return f"{place.folder}/{part.member.replace('/', '-')}.d"


async def _unpack_all(ctx: ActionContext, reader: Reader, manifest: Manifest, place: Place) -> None:
    beside = list(_beside(manifest, place))
    total, done = sum(part.bytes for part in (*(each.part for each in manifest.images), *beside)), 0
    for image in manifest.images:
        await _unpack(ctx, reader, image.part, place, done, total)
        await _land_image(ctx, manifest, image, place)
        done += image.part.bytes
    for part in beside:
        await _unpack(ctx, reader, part, place, done, total)
        done += part.bytes


async def _unpack(ctx: ActionContext, reader: Reader, part: Part, place: Place, before: int, total: int) -> None:
    command = Command.script(script("unpack.sh"), _folder(place, part), part.file, become=True, mutates=True)
    said = bytearray()
    async with ctx.session.stream(command, stdin=_pieces(ctx, reader, part, before, total)) as running:
        async for piece in running:
            said += piece.data
        status = await running.status()
    if status:
        cause = said.decode("utf-8", "replace").strip()[-400:]
        if "No space left" in cause:
            raise SpaceError("no room for the VM", code="NF-SNAP-007", where=ctx.host.name, cause=cause)
        await asyncio.to_thread(deque, reader.unpacked(part.member), 0)  # damaged, then that is why
        raise _odd(ctx, part, cause)


async def _pieces(ctx: ActionContext, reader: Reader, part: Part, before: int, total: int) -> AsyncIterator[bytes]:
    pieces, count = reader.unpacked(part.member), 0
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        count += len(piece)
        if count > part.bytes + part.bytes // 8 + SPARE:
            raise reader.bad(f"{part.member} unpacks to more than the {part.bytes} bytes it should")
        ctx.progress(f"import {part.file}", min(before + count, total), total)
        yield piece


def _odd(ctx: ActionContext, part: Part, cause: str) -> SnapshotError:
    hints = ("see what it is before you use it elsewhere",)
    return SnapshotError(
        f"{part.member} of the archive is not what it should be",
        code="NF-SNAP-012",
        where=ctx.host.name,
        cause=cause,
        hints=hints,
    )


async def _land_image(ctx: ActionContext, manifest: Manifest, image: ImagePart, place: Place) -> None:
    """Put it on the image it belongs over, and believe nothing else it says of other files."""
    below, form = place.final(manifest, image.backing) if image.backing else ("", "")
    words = (_unpacked(place, image.part), image.format, below, form)
    try:
        told = json.loads(await run_script(ctx, "land_image.sh", *words))
        found = _described(told)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _odd(ctx, image.part, f"qemu-img: {exc}") from exc
    except CommandError as error:
        raise _odd(ctx, image.part, error.stderr.strip()) from error
    if found != (image.format, image.size, below, False):
        wanted = f"{image.format}, {image.size} bytes, on {below or 'nothing'}"
        raise _odd(ctx, image.part, f"{found[0]}, {found[1]} bytes, on {found[2] or 'nothing'}; expected {wanted}")


def _described(told: Mapping[str, Any]) -> tuple[str, int, str, bool]:
    data = told.get("format-specific", {}).get("data", {})
    return str(told["format"]), int(told["virtual-size"]), str(told.get("backing-filename", "")), "data-file" in data


def _links(manifest: Manifest, place: Place) -> Iterator[tuple[str, str]]:
    for image in manifest.images:
        yield _unpacked(place, image.part), place.final(manifest, image.part.member)[0]
    for each in manifest.snapshots:
        if each.memory is not None and (final := place.memory(each)):
            yield _unpacked(place, each.memory), final


async def _put_beside(ctx: ActionContext, manifest: Manifest, place: Place, fitted: Any, undo: AsyncExitStack) -> None:
    """UEFI variables and TPM state, the VM's own and those its snapshots keep."""
    parts = {part.member: part for part in _beside(manifest, place)}
    pairs = [(path, member) for path, member in arrive.own(fitted, manifest)]
    for each in manifest.snapshots:
        pairs += _copies(fitted, each)
    for path, member in pairs:
        undo.push_async_callback(_drop, ctx, path)
        await run_script(ctx, "copy.sh", _unpacked(place, parts[member]), path)
        if path.startswith(f"{TPM_STATE}/"):
            await ctx.session.run(own(path))


def _copies(fitted: Any, part: SnapshotPart) -> list[tuple[str, str]]:
    return [(copy, member) for _, copy, member in arrive.copies(fitted, part)]


async def _drop(ctx: ActionContext, path: str) -> None:
    await _as_far_as_possible(ctx, ctx.session.run(Command.script(REMOVE, path, become=True, mutates=True)))


async def _undefine(ctx: ActionContext, place: Place) -> None:
    await _as_far_as_possible(ctx, ctx.hypervisor.undefine_domain(place.name))


async def _clean(ctx: ActionContext, manifest: Manifest, place: Place) -> None:
    """Links to what was unpacked, and that."""
    words = (place.folder, *_finals(manifest, place))
    await _as_far_as_possible(ctx, run_script(ctx, "land_clean.sh", *words))


async def _as_far_as_possible(ctx: ActionContext, work: Any) -> None:
    try:
        await work
    except NovaFleetError as error:
        log.warning("%s: %s; the next import under this name removes it", ctx.host.name, error)
