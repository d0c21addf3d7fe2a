"""The disks of a running guest, copied in rounds: a frozen moment first, then what changed since, less each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from posixpath import dirname
from xml.etree import ElementTree

from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.presync import pour
from novafleet.capability.migration.scripts import script
from novafleet.errors import BlockError, ChannelError, HypervisorError, MigrationError, Retry, UnreachableError
from novafleet.model.command import Command
from novafleet.model.migration import Move, MoveDisk
from novafleet.nbd.client import NbdClient, connect_nbd
from novafleet.nbd.protocol import ALLOCATION, DIRTY_BITMAP
from novafleet.nbd.pulljob import EXPORT_BITMAP, JobDisk, backup_xml, checkpoint_xml, home_of

RUN = "/run/novafleet/carry"
"""``JOB/``, root's own, has the sockets of ``qemu-nbd``."""
MOST_ROUNDS = 5
LITTLE = 16 << 20
"""Bytes of a round after which another one is not worth it."""
SLOWING = 0.8
"""A round that brings more than this share of the one before shows that the guest writes as fast as we copy."""
TRIES, PAUSE = 5, 1.0
LOST = (UnreachableError, ChannelError, BlockError)
FORGET = """\
prefix=$1
shift
for image; do
  qemu-img info -U --output=json -f qcow2 "$image" | grep -o "\\"$prefix-[0-9]*\\"" | tr -d '"' | sort -u |
    while read -r name; do qemu-img bitmap --remove -f qcow2 "$image" "$name"; done
done
exit 0
"""


def prefix(job: str) -> str:
    """How the units, checkpoints and bitmaps of a job begin."""
    return f"nf-migrate-{job}"


def scratch(move: Move, disk: MoveDisk) -> str:
    """Where QEMU keeps what the guest overwrites during a round: beside the disk."""
    return f"{dirname(disk.source)}/.{prefix(move.job)}-{disk.target}.scratch"


@asynccontextmanager
async def served(end: End, move: Move, disk: MoveDisk, path: str, *, bitmap: str = "") -> AsyncIterator[str]:
    """A disk image that nobody uses, exported by ``qemu-nbd``; yields the socket. With ``bitmap`` read-only."""
    unit, socket = f"{prefix(move.job)}-{disk.target}", f"{RUN}/{move.job}/{disk.target}.sock"
    words = (unit, disk.target, disk.format, path.replace("$", "$$"), bitmap, "read" if bitmap else "write", socket)
    await end.session.run(script("serve.sh", *words, mutates=True))
    try:
        yield socket
    finally:
        await end.session.run(Command(("systemctl", "stop", f"{unit}.service"), become=True), check=False)


async def quiet(end: End, move: Move) -> None:
    """End what the job has running on a host, after a crash too. Convergent."""
    files = [scratch(move, disk) for disk in move.disks]
    await end.session.run(script("quiet.sh", prefix(move.job), f"{RUN}/{move.job}", *files, mutates=True))


class Rounds:
    """The disks of one running guest that can record what changes (qcow2), on their way to ``sockets`` by target."""

    def __init__(self, ends: Ends, move: Move, disks: Sequence[MoveDisk], sockets: dict[str, str]) -> None:
        self._ends, self._move, self._disks, self._sockets = ends, move, disks, sockets
        self._total = sum(disk.allocated or disk.size for disk in disks)
        self.copied = 0
        self.mark = ""
        """The checkpoint since which changes are still to come."""

    async def run(self) -> None:
        """Round after round until little is left. Raises MigrationError NF-MIG-413, BlockError."""
        before = 0
        for number in range(MOST_ROUNDS if self._disks else 0):
            brought = await self._round(number)
            if number and (brought <= LITTLE or brought > before * SLOWING):
                break
            before = brought

    async def _round(self, number: int) -> int:
        hypervisor, domain, since = self._ends.source.hypervisor, self._move.domain, self.mark
        mark = f"{prefix(self._move.job)}-{number}"
        try:
            socket, job, checkpoint = await self._asked(since, mark)
            await hypervisor.begin_backup(domain, job, checkpoint)
        except HypervisorError as error:
            raise self._refused(error) from error
        try:
            before = self.copied
            for disk in self._disks:
                await self._disk(disk, socket, EXPORT_BITMAP if since else "", f"round {number + 1}")
        finally:
            await hypervisor.abort_job(domain)
        self.mark = mark
        if since:
            await hypervisor.delete_checkpoint(domain, since)
        return self.copied - before

    async def _asked(self, since: str, mark: str) -> tuple[str, str, str]:
        """The socket of a round's export, its job and its checkpoint."""
        root = ElementTree.fromstring(await self._ends.source.hypervisor.running_xml(self._move.domain))
        targets = [element.get("dev", "") for element in root.iterfind("devices/disk/target")]
        ours = [disk.target for disk in self._disks]
        others = sorted(set(targets) - set(ours))
        socket = f"{home_of(root.get('id', ''), self._move.domain)}/nf-migrate.sock"
        jobs = [JobDisk(disk.target, scratch(self._move, disk), since) for disk in self._disks]
        return socket, backup_xml(jobs, others, socket), checkpoint_xml(mark, ours, others)

    async def rest(self) -> None:
        """What changed since the last round, of the guest that is off now."""
        for disk in self._disks:
            async with served(self._ends.source, self._move, disk, disk.source, bitmap=self.mark) as socket:
                await self._disk(disk, socket, self.mark, "rest")

    async def _disk(self, disk: MoveDisk, socket: str, bitmap: str, what: str) -> None:
        def tell(count: int) -> None:
            self.copied += count
            self._ends.tell(f"{disk.target}: {what}", min(self.copied, self._total), self._total)

        for attempt in range(TRIES):
            try:
                await self._copy(disk, socket, bitmap, tell)
                return
            except LOST:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(PAUSE)

    async def _copy(self, disk: MoveDisk, socket: str, bitmap: str, tell: Callable[[int], None]) -> None:
        contexts = (ALLOCATION, *([f"{DIRTY_BITMAP}{bitmap}"] if bitmap else []))
        async with (
            opened(self._ends.source, socket, disk.target, contexts) as source,
            opened(self._ends.destination, self._sockets[disk.target], disk.target) as target,
        ):
            await pour(source, target, tell, changes=bool(bitmap))

    def _refused(self, error: HypervisorError) -> MigrationError:
        return MigrationError(
            f"the disks of {self._move.domain} cannot be read while it runs",
            code="NF-MIG-413",
            where=self._ends.source.host.name,
            cause=str(error),
            hints=("migrate it --mode cold, which stops it first", *error.hints),
            retry=Retry.AFTER_FIX,
        )


@asynccontextmanager
async def opened(
    end: End, socket: str, export: str, contexts: Sequence[str] = (ALLOCATION,)
) -> AsyncIterator[NbdClient]:
    """An export on a host."""
    client = await connect_nbd(await end.session.open_unix(socket), export, contexts)
    try:
        yield client
    finally:
        await client.close()


async def clear(source: End, move: Move) -> None:
    """Take away what a warm copy left on its source: its job, its checkpoints and bitmaps, its scratch. Convergent."""
    name = move.domain
    job = await source.hypervisor.backup_job(name)
    if job is not None and "/nf-migrate.sock" in job.xml:
        await source.hypervisor.abort_job(name)
    off = not await source.hypervisor.running_xml(name)
    for each in await source.hypervisor.checkpoints(name):
        if each.name.startswith(f"{prefix(move.job)}-"):
            await source.hypervisor.delete_checkpoint(name, each.name, metadata_only=off)
    await quiet(source, move)
    images = [disk.source for disk in move.disks if disk.format == "qcow2" and not (disk.shared or disk.readonly)]
    if off and images:
        words = (prefix(move.job), *images)
        await source.session.run(Command.script(FORGET, *words, become=True, mutates=True))
