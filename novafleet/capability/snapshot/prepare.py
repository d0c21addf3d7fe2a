"""What a snapshot takes before its moment comes: done first, so that guests stand still for as short as can be and the
snapshots of a group lie close together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from novafleet.capability.snapshot.look import Survey, script, survey
from novafleet.capability.snapshot.plan import AUTO, Creation, plan_creation
from novafleet.errors import CommandError, SnapshotError, SpaceError
from novafleet.model.command import Command
from novafleet.ports import ActionContext, Json


@dataclass(frozen=True, slots=True)
class Prepared:
    """A VM as it was looked at, and what is to be made of it."""

    seen: Survey
    creation: Creation


async def prepare(ctx: ActionContext, args: Mapping[str, Json]) -> Prepared:
    """Look at ``args["domain"]`` and plan snapshot ``args["name"]`` of mode ``args["mode"]``.

    Raises SnapshotError NF-SNAP-003, -004, -006, -014, -017, SpaceError NF-SNAP-007.
    """
    seen = await survey(ctx, args["domain"])
    await refuse_jobs(ctx, seen)
    creation = plan_creation(seen, args["name"], args["mode"], args["token"], args.get("kind", AUTO))
    for path, copy in creation.copies.items():
        await run_script(ctx, "copy.sh", path, copy)
    return Prepared(seen, creation)


def refuse_asleep(ctx: ActionContext, seen: Survey) -> None:
    """Raise SnapshotError NF-SNAP-017 for a VM whose memory waits in a managed save: it would go on with the images it
    had then, whatever was laid over them, merged or gone back to meanwhile."""
    if not seen.domain.saved:
        return
    name = seen.domain.name
    raise SnapshotError(
        f"{name} sleeps in a managed save",
        code="NF-SNAP-017",
        where=ctx.host.name,
        cause="its next start goes on with the disks of then",
        hints=(f"virsh start {name}   # on {ctx.host.name}", f"virsh managedsave-remove {name}   # its memory is lost"),
    )


async def refuse_jobs(ctx: ActionContext, seen: Survey) -> None:
    """Raise SnapshotError NF-SNAP-006 while a backup reads the VM: libvirt would wait 30 s for its end. NF-SNAP-017 as
    ``refuse_asleep``."""
    refuse_asleep(ctx, seen)
    if seen.off or await ctx.hypervisor.backup_job(seen.domain.name) is None:
        return
    raise SnapshotError(
        f"a backup of {seen.domain.name} is under way",
        code="NF-SNAP-006",
        where=ctx.host.name,
        hints=("try again when it has ended",),
    )


async def run_script(ctx: ActionContext, name: str, *words: str) -> str:
    """What one of our scripts says, run as root behind the lease. Raises CommandError, SpaceError NF-SNAP-007."""
    try:
        done = await ctx.session.run(Command.script(script(name), *words, become=True, mutates=True))
    except CommandError as error:
        if "No space left" not in error.stderr:
            raise
        raise SpaceError(
            "no room for a snapshot", code="NF-SNAP-007", where=ctx.host.name, cause=error.stderr.strip()
        ) from error
    return done.text
