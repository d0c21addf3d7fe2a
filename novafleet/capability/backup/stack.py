"""The backup of a container stack: the images of its containers; then, its containers paused for as long as it takes,
its bundle and its named volumes, read as tar archives made on the host."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from novafleet.capability.backup import stack_images
from novafleet.capability.backup.archive import archived
from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.look import script
from novafleet.capability.backup.names import FOLDER, transient
from novafleet.capability.backup.order import Order
from novafleet.errors import BackupError, CommandError
from novafleet.model.backup import Consistency, CopyMode, DiskCopy, Snapshot, SnapshotKind
from novafleet.model.command import Command
from novafleet.observe.containers import PROJECT_LABEL
from novafleet.ports import ActionContext, Clock
from novafleet.repository.repository import Repository
from novafleet.repository.writer import Backup

SILENCE = 30
"""Seconds without a sign of the controller after which paused containers go on."""
FORMAT = "tar"
BUNDLE = "bundle"
ANONYMOUS = 64
"""Characters of the name an engine gives to a volume nobody named."""
RUNNING = '"$1" ps -q --no-trunc --filter status=running --filter "label=$2"'
PORTS = """\
form='{{$labels := .Config.Labels}}{{range $port, $to := .HostConfig.PortBindings}}{{range $to}}'
form=$form'{{.HostPort}} {{index $labels "com.docker.compose.service"}} {{println $port}}{{end}}{{end}}'
ids=$("$1" ps -aq --filter "label=$2") || exit
[ -z "$ids" ] || "$1" container inspect --format "$form" $ids
"""
"""``HOST-PORT SERVICE PORT/PROTOCOL`` of each that is published."""
NOTE = 'umask 077; mkdir -p -- "$1" && folder=$1 && shift && printf "%s\\n" "$@" >"$folder/paused"'
ARCHIVE = """\
cd -- "$1" && exec tar --create --file=- --format=posix --sort=name --numeric-owner --acls --xattrs \\
  --xattrs-include='*' --sparse --sparse-version=0.0 \\
  --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' .
"""
"""The same content makes the same archive, so that what did not change is not stored again: no times of reading, no
numbers of processes (as in the names other versions of sparse members have)."""


@dataclass(frozen=True, slots=True)
class StackPlace:
    """Where a stack is: ``project`` on its ``engine`` (docker | podman), its bundle in the folder ``root``; ``kind`` is
    compose | kube | quadlet."""

    project: str
    engine: str
    kind: str
    root: str

    @property
    def folder(self) -> str:
        """On the host, while its containers are paused."""
        return f"{FOLDER}/stack-{self.project}"

    @property
    def unit(self) -> str:
        """Lets them go on should nobody else do."""
        return f"nf-stack-{self.project}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of an engine. ``skip`` says why it is not backed up, empty when it is."""

    name: str
    path: str
    labels: Mapping[str, str]
    skip: str = ""


async def back_up_stack(
    ctx: ActionContext, repository: Repository, clock: Clock, order: Order, place: StackPlace, uuid: str
) -> Snapshot:
    """Add a snapshot of one stack to the repository. The caller holds the stack's lease.

    Raises BackupError NF-BAK-060, -061, and what SSH and the repository raise; then its containers run on.
    """
    began = clock.now()
    parent = await order.history.newest(uuid)
    await _go_on(ctx, place)
    images = await stack_images.images(ctx, place.engine, place.project)
    async with repository.backup(clock, after=parent.id if parent else "") as store:
        earlier = None if order.full else parent
        kept = await stack_images.image_copies(ctx, repository, store, order, place.engine, images, earlier)
        async with _still(ctx, place, order) as consistency:
            at = clock.now()
            found, published = await volumes(ctx, place), await ports(ctx, place)
            disks = await _copies(ctx, store, order, place, found, parent)
        facts = {"engine": place.engine, "kind": place.kind, "paused": round(clock.now() - at, 3)}
        snapshot = Snapshot(
            id="",
            vm=order.vm,
            domain=order.domain,
            uuid=uuid,
            host=ctx.host.name,
            at=at,
            consistency=consistency,
            disks={**disks, **kept},
            environment=order.environment,
            parent=earlier.id if earlier else "",
            tags=order.tags,
            facts={**facts, "ports": published, **_facts(found, images)},
            kind=SnapshotKind.STACK,
        )
        return await store.commit(replace(snapshot, seconds=clock.now() - began))


async def estimate_stack(ctx: ActionContext, order: Order, place: StackPlace, uuid: str) -> Mapping[str, int]:
    """About how many bytes of each archive would be read. Changes nothing."""
    parent = await order.history.newest(uuid)
    found = [(f"volume.{each.name}", each.path) for each in await volumes(ctx, place) if not each.skip]
    sizes = {}
    for name, path in [(BUNDLE, place.root), *found]:
        said = await ctx.session.run(Command(("du", "-sB1", "--apparent-size", "--", path), become=True))
        sizes[name] = int(said.text.split()[0])
    images = await stack_images.images(ctx, place.engine, place.project)
    new = {each.part: 0 if stack_images.held(parent, each) else each.size for each in images if not each.skip}
    return {**sizes, **new}


async def volumes(ctx: ActionContext, place: StackPlace) -> tuple[Volume, ...]:
    """Its named volumes, whoever else mounts them too, by name."""
    asked = Command.script(script("stack_volumes.sh"), place.engine, place.project, become=True)
    said = (await ctx.session.run(asked, timeout=60.0)).text
    try:
        documents = json.loads(said) if said.strip() else []
        found = [_volume(each) for each in documents]
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise BackupError(
            f"{place.engine} says nothing of volumes that can be read",
            code="NF-BAK-061",
            where=ctx.host.name,
            cause=repr(said[:200]),
        ) from exc
    return tuple(sorted(found, key=lambda each: each.name))


async def ports(ctx: ActionContext, place: StackPlace) -> Mapping[str, str]:
    """``SERVICE:PORT`` by the port of its host it is published at; TCP only."""
    said = await ctx.session.run(Command.script(PORTS, place.engine, _label(place), become=True), timeout=60.0)
    found = [words for line in said.text.splitlines() if len(words := line.split()) == 3]
    return {here: f"{service}:{port[:-4]}" for here, service, port in found if here != "0" and port.endswith("/tcp")}


def _volume(document: Mapping[str, Any]) -> Volume:
    name, driver = str(document["Name"]), str(document.get("Driver") or "local")
    device = (document.get("Options") or {}).get("device", "")
    skip = "nobody named it" if len(name) == ANONYMOUS and name.isalnum() else ""
    skip = f"its data lies elsewhere: {device}" if device else skip
    return Volume(
        name=name,
        path=str(document["Mountpoint"]),
        labels={str(key): str(value) for key, value in (document.get("Labels") or {}).items()},
        skip=skip if driver == "local" else f"driver {driver} keeps it",
    )


def _facts(found: tuple[Volume, ...], images: tuple[stack_images.StackImage, ...]) -> Mapping[str, Any]:
    labels = {each.name: each.labels for each in found if not each.skip}
    left_out = {each.name: each.skip for each in found} | {each.name: each.skip for each in images}
    skipped = {name: why for name, why in left_out.items() if why}
    return {"volumes": labels, "images": stack_images.facts(images), "left_out": skipped}


@asynccontextmanager
async def _still(ctx: ActionContext, place: StackPlace, order: Order) -> AsyncIterator[Consistency]:
    """Its running containers paused; they go on whatever happens, at the latest when we have been silent a while."""
    ids = (await _run(ctx, Command.script(RUNNING, place.engine, _label(place), become=True), place)).split()
    if not ids:
        yield Consistency.OFFLINE
        return
    try:
        await _run(ctx, Command.script(NOTE, place.folder, *ids, become=True, mutates=True), place)
        words = (place.engine, place.folder, order.heartbeat, str(SILENCE))
        watch = transient(place.unit, ("sh", "-c", script("stack_guard.sh"), "novafleet", *words))
        await _run(ctx, Command(watch, become=True, mutates=True), place)
        await _run(ctx, Command((place.engine, "pause", *ids), become=True, mutates=True), place)
        yield Consistency.FS
    finally:
        await if_possible(ctx, _go_on(ctx, place))


def _label(place: StackPlace) -> str:
    return f"{PROJECT_LABEL}={place.project}"


async def _run(ctx: ActionContext, command: Command, place: StackPlace) -> str:
    try:
        return (await ctx.session.run(command, timeout=60.0)).text
    except CommandError as error:
        raise BackupError(
            f"the containers of {place.project} cannot be paused",
            code="NF-BAK-060",
            where=ctx.host.name,
            cause=error.stderr.strip()[-400:],
            hints=(f"{place.engine} ps -a --filter label={_label(place)}   # on {ctx.host.name}",),
        ) from error


async def _go_on(ctx: ActionContext, place: StackPlace) -> None:
    words = (place.engine, place.folder, place.unit)
    await ctx.session.run(Command.script(script("stack_go_on.sh"), *words, become=True, mutates=True))


async def _copies(
    ctx: ActionContext,
    store: Backup,
    order: Order,
    place: StackPlace,
    found: tuple[Volume, ...],
    parent: Snapshot | None,
) -> Mapping[str, DiskCopy]:
    parts = [(BUNDLE, "", place.root)]
    parts += [(f"volume.{each.name}", each.name, each.path) for each in found if not each.skip]
    copies = {}
    for name, target, path in parts:
        before = parent is not None and name in parent.disks
        copy = DiskCopy(
            name=name,
            target=target,
            size=0,
            root="",
            format=FORMAT,
            path=path,
            mode=CopyMode.HASH_INCREMENTAL if before else CopyMode.FULL,
            why="read whole; what the repository has is not stored again" if before else "first backup of it",
        )
        hint = f"tar -cf /dev/null -C {path} .   # on {ctx.host.name}, as root"
        copies[name] = await archived(ctx, store, order, copy, Command.script(ARCHIVE, path, become=True), hint)
    return copies
