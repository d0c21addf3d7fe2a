"""What an earlier run left behind is found by looking at the host and removed before the next begins."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection

from novafleet.capability.backup import xml
from novafleet.capability.backup.look import Sight, script
from novafleet.capability.backup.names import FOLDER, Names, prefix
from novafleet.errors import BackupError, HypervisorError, NovaFleetError, Retry
from novafleet.model.backup import Snapshot
from novafleet.model.command import Command
from novafleet.ports import ActionContext

log = logging.getLogger(__name__)

FORGET = """\
image=$1
shift
for name; do
  qemu-img bitmap --remove -f qcow2 "$image" "$name" || { qemu-img info "$image" | grep -qF "$name" && exit 1; }
done
exit 0
"""


async def clean(ctx: ActionContext, sight: Sight, repository: str, keep: Collection[str]) -> None:
    """End our own dead job, thaw, remove units and scratch, and every checkpoint of this repository but ``keep``.

    Raises BackupError NF-BAK-010 when somebody else backs the VM up just now.
    """
    names, domain = Names(sight.domain.uuid), sight.domain.name
    if sight.job is not None:
        if xml.job_socket(sight.job.xml) != names.socket(sight.home):
            raise _busy(ctx, domain)
        ctx.progress("ending the job an earlier run left")
        await ctx.hypervisor.abort_job(domain)
    words = (names.uuid, FOLDER, *sight.scratch_directories)
    done = await ctx.session.run(Command.script(script("clean.sh"), *words, become=True, mutates=True))
    if "frozen" in done.text and sight.running:
        await thawed(ctx, names, domain)
    stale = [each.name for each in sight.checkpoints if each.name.startswith(prefix(repository))]
    for name in stale:
        if name not in keep:
            await forget_checkpoint(ctx, domain, name, running=sight.running)
    if not sight.running:
        await _forget_bitmaps(ctx, sight, prefix(repository), keep)


async def thawed(ctx: ActionContext, names: Names, domain: str) -> None:
    """Thaw the guest, then call the dead-man off."""
    await ctx.hypervisor.thaw(domain)
    await ctx.session.run(Command(("systemctl", "stop", f"{names.thaw}.timer"), become=True), check=False)


async def forget_checkpoint(ctx: ActionContext, domain: str, name: str, *, running: bool) -> None:
    """Remove a checkpoint with its bitmaps; of a VM that is off, or where a bitmap is broken, libvirt only forgets."""
    try:
        await ctx.hypervisor.delete_checkpoint(domain, name, metadata_only=not running)
    except HypervisorError as error:
        log.info("%s: checkpoint %s: %s", ctx.host.name, name, error)
        await ctx.hypervisor.delete_checkpoint(domain, name, metadata_only=True)


async def _forget_bitmaps(ctx: ActionContext, sight: Sight, beginning: str, keep: Collection[str]) -> None:
    """Of images nobody uses: bitmaps of this repository that no snapshot needs any more."""
    for disk in sight.copied:
        image = sight.images.get(disk.target)
        names = image.layers[0].bitmaps if image is not None and image.layers else {}
        await forget_bitmaps(
            ctx, disk.path, [each for each in names if each.startswith(beginning) and each not in keep]
        )


async def forget_bitmaps(ctx: ActionContext, path: str, names: Collection[str]) -> None:
    """Remove bitmaps of an image nobody uses."""
    if names:
        await ctx.session.run(Command.script(FORGET, path, *names, become=True, mutates=True))


def kept(parent: Snapshot | None) -> frozenset[str]:
    """The checkpoints the newest snapshot of a VM was committed with."""
    return frozenset(copy.checkpoint for copy in parent.disks.values() if copy.checkpoint) if parent else frozenset()


async def if_possible(ctx: ActionContext, work: Awaitable[object]) -> None:
    """Clean up after a failure; what cannot be cleaned up now is found by the next run."""
    try:
        await work
    except NovaFleetError as error:
        log.info("%s: left for the next run to clean up: %s", ctx.host.name, error)


def _busy(ctx: ActionContext, domain: str) -> BackupError:
    return BackupError(
        f"another backup of {domain} is running that is not NovaFleet's",
        code="NF-BAK-010",
        where=ctx.host.name,
        hints=(f"virsh backup-dumpxml {domain}; virsh domjobinfo {domain}   # on {ctx.host.name}: whose is it?",),
        retry=Retry.LATER,
    )
