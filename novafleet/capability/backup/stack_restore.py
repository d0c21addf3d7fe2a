"""A stack out of a repository on a host: images loaded, archives unpacked beside where they belong, then put there all
at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from novafleet.capability.backup.archive import given_back
from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.look import script
from novafleet.capability.backup.restore import forget
from novafleet.capability.backup.restore_check import there_already
from novafleet.capability.backup.restore_disks import RestoredDisk
from novafleet.capability.backup.restore_inplace import KEPT_DAYS
from novafleet.capability.backup.stack import BUNDLE, FORMAT, StackPlace
from novafleet.capability.backup.stack_images import load_images
from novafleet.errors import BackupError, Retry
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.model.command import Command
from novafleet.observe.containers import PROJECT_LABEL
from novafleet.ports import ActionContext
from novafleet.repository.repository import Repository

UNPACK = """\
umask 077
rm -rf -- "$1" && mkdir -p -- "$1" && exec tar --extract --file=- --directory="$1" --numeric-owner --same-owner \\
  --same-permissions --acls --xattrs --xattrs-include='*'
"""


@dataclass(frozen=True, slots=True)
class StackRestored:
    """A stack on a host. ``disks`` are its bundle and volumes; ``notes``: what is not as it was."""

    name: str
    disks: tuple[RestoredDisk, ...]
    started: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unpacking:
    """One archive: where it is unpacked, and where it belongs."""

    copy: DiskCopy
    target: str
    final: str
    part: str


async def restore_stack(
    ctx: ActionContext,
    repository: Repository,
    snapshot: Snapshot,
    place: StackPlace,
    at: float,
    *,
    in_place: bool = False,
    apart: bool = False,
) -> StackRestored:
    """Put images, bundle and volumes of a stack to ``place``; nothing is started. With ``in_place`` what is there is
    kept beside it, else it is refused. ``apart``: no volume keeps its name. The caller holds the stack's lease.

    Raises BackupError NF-BAK-030, NF-BAK-036, NF-BAK-063, and what SSH and the repository raise; then what was there is
    as it was.
    """
    was = snapshot.domain.removeprefix("stack.")
    folded = [copy for copy in snapshot.disks.values() if copy.format == FORMAT]
    names = {copy.target: renamed(copy.target, was, place.project, apart=apart) for copy in folded if copy.target}
    folders = await _prepared(ctx, snapshot, place, names, in_place=in_place)
    unpackings = [_unpacking(copy, place, names, folders) for copy in sorted(folded, key=_last)]
    others = await load_images(ctx, repository, snapshot, place.engine)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_drop, ctx, unpackings)
        for each in unpackings:
            unpack = Command.script(UNPACK, each.part, become=True, mutates=True)
            await given_back(ctx, await repository.disk(each.copy), each.copy, unpack, each.part.rpartition("/")[0])
        kept = f".before-{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"
        words = [word for each in unpackings for word in (each.part, each.final)]
        exchange = Command.script(script("stack_exchange.sh"), kept, str(KEPT_DAYS), *words, become=True, mutates=True)
        notes = (await ctx.session.run(exchange)).text.splitlines()
        undo.pop_all()
    disks = [
        RestoredDisk(each.copy.name, each.target, each.final, FORMAT, each.copy.size, each.copy.size)
        for each in unpackings
    ]
    return StackRestored(
        f"stack.{place.project}",
        tuple(disks),
        notes=(*others, *(f"what was there is kept {KEPT_DAYS} days: {each}" for each in notes)),
    )


def renamed(volume: str, was: str, project: str, *, apart: bool = False) -> str:
    """A volume's name under another project, as Compose would form it; it keeps one of its own unless ``apart``."""
    rest = volume.removeprefix(f"{was}_")
    return f"{project}_{rest}" if apart or rest != volume else volume


def _last(copy: DiskCopy) -> bool:
    """The bundle: as long as it is not there, the stack is not."""
    return copy.name == BUNDLE


def _unpacking(copy: DiskCopy, place: StackPlace, names: Mapping[str, str], folders: Mapping[str, str]) -> Unpacking:
    if copy.name == BUNDLE:
        return Unpacking(copy, "", place.root, bundle_part(place))
    target = names[copy.target]
    return Unpacking(copy, target, folders[target], f"{folders[target]}.nf-restore")


def bundle_part(place: StackPlace) -> str:
    """Where the bundle is unpacked."""
    folder, _, name = place.root.rpartition("/")
    return f"{folder}/.nf-restore-{name}"


async def _prepared(
    ctx: ActionContext, snapshot: Snapshot, place: StackPlace, names: Mapping[str, str], *, in_place: bool
) -> Mapping[str, str]:
    """The folder of each volume, made if absent. Raises BackupError NF-BAK-030, NF-BAK-036."""
    labels = snapshot.facts.get("volumes") or {}
    words = [word for was, name in names.items() for word in (name, _labels(labels.get(was) or {}, place))]
    how = "in-place" if in_place else "new"
    asked = (place.engine, place.project, place.root, bundle_part(place), how, *words)
    said = await ctx.session.run(Command.script(script("stack_prepare.sh"), *asked, become=True, mutates=True))
    lines = [line.split(" ", 2) for line in said.text.splitlines()]
    in_the_way = [" ".join(line[1:]) for line in lines if line[0] == "there"]
    if in_the_way and in_place:
        raise _runs(ctx, place, in_the_way[0])
    if in_the_way:
        raise there_already(ctx, in_the_way[0], "another name with --as, or --in-place to exchange what it holds")
    return {line[1]: line[2] for line in lines if line[0] == "volume"}


def _labels(labels: Mapping[str, str], place: StackPlace) -> str:
    """Lines; the project's name in them is the one it is restored under."""
    kept = {key: value for key, value in labels.items() if "\n" not in f"{key}{value}"}
    projects = {key: place.project for key in kept if key in (PROJECT_LABEL, "io.podman.compose.project")}
    return "".join(f"{key}={value}\n" for key, value in {**kept, PROJECT_LABEL: place.project, **projects}.items())


def _runs(ctx: ActionContext, place: StackPlace, which: str) -> BackupError:
    return BackupError(
        f"volumes of {place.project} cannot be exchanged while it runs",
        code="NF-BAK-036",
        where=ctx.host.name,
        cause=which,
        hints=(
            f"{place.engine} stop $({place.engine} ps -q --filter label={PROJECT_LABEL}={place.project})"
            f"   # on {ctx.host.name}",
        ),
        retry=Retry.AFTER_FIX,
    )


async def _drop(ctx: ActionContext, unpackings: list[Unpacking]) -> None:
    await if_possible(ctx, forget(ctx, *(each.part for each in unpackings)))
