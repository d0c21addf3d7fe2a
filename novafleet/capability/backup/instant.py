"""A VM that runs at once on what lies in a repository: it reads through us, writes to images of its own, and what it
has not read yet is streamed into them until it needs us no more.

A small relay on the host (``qemu-nbd``) stands between: while our connection is gone the guest's reads wait.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.look import OFF, script
from novafleet.capability.backup.pour import content
from novafleet.capability.backup.restore import Restored, announce, clean, forget, undo_restore
from novafleet.capability.backup.restore_check import exists, fitting, refuse_files, refuse_full, there_already
from novafleet.capability.backup.restore_devices import lying_on
from novafleet.capability.backup.restore_disks import RestoredDisk
from novafleet.capability.backup.restore_names import Names, Order, plain
from novafleet.capability.backup.restore_xml import NewDisk, abilities, needs
from novafleet.errors import BackupError, NovaFleetError, Retry
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.model.command import Command
from novafleet.nbd.server import serve_nbd
from novafleet.ports import ActionContext, BlockSource, Channel, Clock
from novafleet.repository.repository import Repository

FOLDER = "/run/novafleet/instant"
PATIENCE = 86400
"""Seconds the relay keeps the guest's reads waiting for us."""
POLL, RECONNECT = 1.0, 2.0
ALONE = 20.0
"""Seconds without a connection of any relay after which we listen anew: the forwarding is gone."""
WHO = ("id", "-un")
STOP = 'systemctl stop "$1-*.service"; rm -rf -- "$2"'
PASSING = frozenset((Retry.NOW, Retry.LATER))


class Link:
    """The relays' connections to us."""

    def __init__(self, exports: Mapping[str, BlockSource], clock: Clock) -> None:
        self._exports = exports
        self._clock = clock
        self._open = 0
        self._since = clock.monotonic()

    async def serve(self, channel: Channel) -> None:
        """One of them, to its end."""
        self._open += 1
        try:
            await serve_nbd(channel, self._exports)
        finally:
            self._open -= 1
            self._since = self._clock.monotonic()

    @property
    def alone(self) -> bool:
        """There has been none for a while."""
        return not self._open and self._clock.monotonic() - self._since > ALONE


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant restore."""

    ctx: ActionContext
    clock: Clock
    names: Names
    snapshot: Snapshot
    sources: Mapping[str, BlockSource]
    files: Mapping[str, bytes]

    @property
    def domain(self) -> str:
        """The VM's name."""
        return self.names.order.name

    @property
    def folder(self) -> str:
        """Sockets; gone with the host's next boot."""
        return f"{FOLDER}/{self.names.id}"

    @property
    def unit(self) -> str:
        """How the relays' units begin."""
        return f"nf-instant-{self.names.id}"

    @property
    def copies(self) -> tuple[DiskCopy, ...]:
        """The disks."""
        return tuple(self.snapshot.disks.values())

    def export(self, copy: DiskCopy) -> str:
        """Names snapshot and disk: a VM cannot go on with another snapshot than it began with."""
        return f"{self.snapshot.id}.{plain(copy.target)}"

    def url(self, copy: DiskCopy) -> str:
        """Where the VM reads a disk."""
        return f"nbd+unix:///{self.export(copy)}?socket={self.folder}/{plain(copy.target)}.sock"

    async def run(self, text: str, *words: str) -> str:
        """A script on the host, as root."""
        return (await self.ctx.session.run(Command.script(text, *words, become=True, mutates=True))).text


async def restore_instantly(
    ctx: ActionContext, repository: Repository, snapshot: Snapshot, order: Order, clock: Clock
) -> Restored:
    """Make the VM, start it, and stream its disks until it stands alone. Under the same name again it goes on where
    it was cut off. The caller holds the lease of that name.

    Raises as ``restore.restore_vm``, and BackupError NF-BAK-042 when the VM is shut down before it stands alone. A VM
    that has started is left running, whatever happens.
    """
    began = clock.monotonic()
    notes: tuple[str, ...] = ()
    work = await _work(ctx, repository, snapshot, order, clock)
    login = (await ctx.session.run(Command(WHO))).text.strip()
    started, alone = False, False
    while not alone:
        try:
            await work.run(script("instant_folder.sh"), work.folder, login)
            link = Link({work.export(copy): work.sources[copy.name] for copy in work.copies}, clock)
            async with ctx.session.listen_unix(f"{work.folder}/up/nbd.sock", link.serve):
                if not started:
                    notes = (*await _started(work), f"it ran after {clock.monotonic() - began:.1f} s")
                    started = True
                    ctx.progress(f"{order.name}: {notes[-1]}")
                alone = await _streamed(work, link)
        except NovaFleetError as error:
            if not started or error.retry not in PASSING:
                raise
        if not alone:
            ctx.progress("the connection was lost; the VM waits, connecting again")
            await clock.sleep(RECONNECT)
    await work.run(STOP, work.unit, work.folder)
    return await _restored(work, notes)


async def _work(ctx: ActionContext, repository: Repository, snapshot: Snapshot, order: Order, clock: Clock) -> Instant:
    copies = snapshot.disks.values()
    places = {copy.target: NewDisk(f"{order.pool}/{order.name}.{plain(copy.name)}.qcow2", "qcow2") for copy in copies}
    sources = {copy.name: await repository.disk(copy) for copy in copies}
    files = {name: await repository.blob(blob) for name, blob in snapshot.files.items()}
    return Instant(ctx, clock, Names(ctx.host.name, order, places), snapshot, sources, files)


async def _restored(work: Instant, notes: tuple[str, ...]) -> Restored:
    wanted = needs((await work.ctx.hypervisor.domain(work.domain)).xml)
    disks = []
    for copy in work.copies:
        path, written = work.names.final(copy).path, await content(work.sources[copy.name])
        disks.append(RestoredDisk(copy.name, copy.target, path, "qcow2", copy.size, written))
    return Restored(work.domain, wanted.uuid, tuple(disks), tuple(sorted(wanted.macs)), started=True, notes=notes)


async def _started(work: Instant) -> tuple[str, ...]:
    """The VM runs: made, or found as an earlier run left it. What had to be changed."""
    ctx = work.ctx
    if await exists(ctx, work.domain):
        await _refuse_other(work)
        await forget(ctx, *(work.names.part(copy) for copy in work.copies))
        await _relay(work)
        if (await ctx.hypervisor.domain_state(work.domain)).state in OFF:
            await ctx.hypervisor.start_domain(work.domain)
        return ()
    fitted = await fitting(ctx, work.snapshot, work.names, work.files)
    refuse_files(ctx, await clean(ctx, work.names, work.snapshot))
    total = sum([await content(source) for source in work.sources.values()])
    refuse_full(ctx, work.names.order.pool, work.names.order.free, total)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_undo, work)
        await _relay(work)
        words = [word for each in work.copies for word in (work.names.part(each), str(each.size), work.url(each))]
        await work.run(script("instant_overlay.sh"), *words)
        await announce(ctx, work.names, work.snapshot, fitted, work.files, undo)
        undo.push_async_callback(_undefine, work)
        await ctx.hypervisor.start_domain(work.domain)
        undo.pop_all()
    await if_possible(ctx, forget(ctx, *(work.names.part(copy) for copy in work.copies)))
    return fitted.notes


async def _undefine(work: Instant) -> None:
    await if_possible(work.ctx, work.ctx.hypervisor.undefine_domain(work.domain))


async def _undo(work: Instant) -> None:
    await undo_restore(work.ctx, work.names, work.snapshot)
    await if_possible(work.ctx, work.run(STOP, work.unit, work.folder))


async def _relay(work: Instant) -> None:
    """Start the relays; QEMU's user may reach them."""
    definition = work.files.get("domain.xml", b"").decode("utf-8", "replace")
    owner = abilities(await work.ctx.hypervisor.capabilities(), definition).owner
    words = [word for copy in work.copies for word in (plain(copy.target), work.export(copy))]
    await work.run(script("instant_relay.sh"), work.folder, owner, work.unit, str(PATIENCE), *words)


async def _refuse_other(work: Instant) -> None:
    """A VM of that name is ours to go on with when its images lie on this very snapshot."""
    for copy in work.copies:
        image = work.names.final(copy).path
        words = ("qemu-img", "info", "-U", "--output=json", "-f", "qcow2", image)
        done = await work.ctx.session.run(Command(words, become=True), check=False)
        below = json.loads(done.stdout).get("backing-filename", "") if done.ok else ""
        if below != work.url(copy):
            hint = "choose another name with --as"
            raise there_already(work.ctx, f"a VM {work.domain}", hint)


async def _streamed(work: Instant, link: Link) -> bool:
    """Wait until no disk lies on us any more; False when the relays have lost us."""
    total = sum(copy.size for copy in work.copies)
    while True:
        running = await work.ctx.hypervisor.running_xml(work.domain)
        if not running:
            raise _shut_down(work)
        waiting = [copy for copy in work.copies if lying_on(running, copy.target, work.folder)]
        done = total - sum([await _left(work, copy) for copy in waiting])
        work.ctx.progress(f"{work.domain}: streaming", done, total)
        if not waiting or link.alone:
            return not waiting
        await work.clock.sleep(POLL)


async def _left(work: Instant, copy: DiskCopy) -> int:
    """Bytes of a disk still to stream; the job is started when there is none."""
    job = await work.ctx.hypervisor.block_job(work.domain, copy.target)
    if job is None:
        await work.ctx.hypervisor.block_pull(work.domain, copy.target)
        return copy.size
    return max(0, job.total - job.done)


def _shut_down(work: Instant) -> BackupError:
    return BackupError(
        f"{work.domain} was shut down before it stood alone",
        code="NF-BAK-042",
        where=work.ctx.host.name,
        hints=("run the same command again: it starts the VM and goes on",),
        retry=Retry.NEVER,
    )
