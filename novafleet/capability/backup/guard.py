"""What looks after a backup on the host itself, where a dead controller cannot: room, time, frozen guests."""

from __future__ import annotations

from novafleet.capability.backup.look import Sight, scratch_directory, script
from novafleet.capability.backup.names import Names, transient
from novafleet.errors import SpaceError
from novafleet.model.command import Command
from novafleet.ports import ActionContext

SILENCE, SILENCE_OFF = 180, 15
"""Seconds without a sign of the controller after which a backup is ended on the host: of a running VM, which does not
mind, and of one that is off, which cannot be started meanwhile."""
FROZEN = 60
"""Seconds after which a guest is thawed whatever happens."""
LEAST_FREE, MOST_FREE, SHARE_FREE = 64 << 20, 4 << 30, 0.05
"""What stays free on a file system that scratch files grow on: a share of it, between two bounds."""

END = 'folder=$1; shift; systemctl stop "$@"; rm -rf -- "$folder"'
REASON = 'cat -- "$1" 2>/dev/null'
REASONS = {
    "full": "its scratch file left too little room; the guest would have been paused",
    "gone": "the host had lost its controller",
}


def reserve(total: int) -> int:
    """Bytes to keep free on a file system of ``total`` bytes."""
    return int(min(MOST_FREE, max(LEAST_FREE, total * SHARE_FREE)))


def refuse_without_room(ctx: ActionContext, sight: Sight) -> None:
    """Raise SpaceError NF-BAK-012 when scratch files would have no room from the start."""
    for disk in sight.copied:
        image = sight.images[disk.target]
        if image.free < reserve(image.total):
            directory = scratch_directory(disk, sight.disks)
            raise SpaceError(
                f"too little room in {directory} for what {sight.domain.name} writes while it is backed up",
                code="NF-BAK-012",
                where=ctx.host.name,
                cause=f"{image.free >> 20} MiB are free, {reserve(image.total) >> 20} MiB must stay so",
                hints=(f"df -h {directory}   # on {ctx.host.name}", "or back it up while it is off: no scratch then"),
            )


async def guard(ctx: ActionContext, sight: Sight, sign: str, heartbeat: str) -> None:
    """Have the host end the backup, of which ``sign`` is a path, when room runs out or ``heartbeat`` (the lease's file)
    grows old; that of a VM that is off as soon as nobody holds the lease any more."""
    names = Names(sight.domain.uuid)
    rooms = {scratch_directory(disk, sight.disks): sight.images[disk.target].total for disk in sight.copied}
    floors = [word for directory, total in rooms.items() for word in (directory, str(reserve(total)))]
    how = (str(SILENCE), "fresh") if sight.running else (str(SILENCE_OFF), "held")
    words = (names.uuid, sign, heartbeat, *how, names.reason, *(floors if sight.running else ()))
    argv = ("sh", "-c", script("guard.sh"), "novafleet", *words)
    await ctx.session.run(Command(transient(names.guard, argv), become=True, mutates=True))


async def end(ctx: ActionContext, names: Names, *units: str) -> None:
    """Stop the guard and other units, and last of all remove the folder that says a backup is under way."""
    words = (names.folder, f"{names.guard}.service", *(f"{unit}.service" for unit in units))
    await ctx.session.run(Command.script(END, *words, become=True, mutates=True))


async def why_ended(ctx: ActionContext, names: Names) -> str:
    """What the guard wrote when it ended a backup, in words; empty when it did not."""
    done = await ctx.session.run(Command.script(REASON, names.reason, become=True), check=False)
    return REASONS.get(done.text.strip(), "")


async def arm_thaw(ctx: ActionContext, names: Names) -> None:
    """Have the host thaw the guest after a while, unless ``clean.thawed`` calls it off."""
    argv = transient(
        names.thaw,
        ("virsh", "-q", "-c", "qemu:///system", "domfsthaw", names.uuid),
        f"--on-active={FROZEN}",
        "--timer-property=AccuracySec=1s",
    )
    await ctx.session.run(Command(argv, become=True, mutates=True))
