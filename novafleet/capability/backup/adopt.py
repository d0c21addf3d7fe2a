"""A backup of a running VM that lost its controller, taken up again at the same point in time.

The job with its scratch files and its checkpoint lives on on the host until the guard ends it. What its controller knew
of it lies beside it (``Names.note``), with how far each disk is stored: maps in the repository that no snapshot names.
What the note says is believed only as far as libvirt and the repository say the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from novafleet.capability.backup import xml
from novafleet.capability.backup.look import Sight
from novafleet.capability.backup.names import Names, prefix
from novafleet.capability.backup.order import Order
from novafleet.capability.backup.plan import DiskPlan, without
from novafleet.errors import NotFoundError, NovaFleetError
from novafleet.model.backup import Consistency, Snapshot
from novafleet.model.encode import decode, encode
from novafleet.ports import ActionContext, Clock
from novafleet.repository.diskwriter import DiskWriter

log = logging.getLogger(__name__)

EVERY, SHARE = 15.0, 0.05
"""Between two notes are so many seconds, or that share of all the time so far: as much is read again at most, and a
backup of many hours leaves no thousands of index objects."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How far a disk is stored: up to byte ``upto`` it is as the map ``root`` says."""

    root: str
    size: int
    upto: int


@dataclass(frozen=True, slots=True)
class Note:
    """A backup under way. ``at`` is the moment it is of; ``disks`` are those begun, by target."""

    repository: str
    checkpoint: str
    at: float
    consistency: Consistency
    parent: str = ""
    full: bool = False
    exclude: tuple[str, ...] = ()
    disks: Mapping[str, Kept] = field(default_factory=dict)


@dataclass(slots=True)
class Keeper:
    """Notes from time to time how far a backup is."""

    ctx: ActionContext
    clock: Clock
    names: Names
    note: Note
    began: float
    last: float = 0.0

    async def write(self) -> None:
        """Put it where the next controller finds it."""
        content = json.dumps(encode(self.note)).encode()
        await self.ctx.session.push(content, self.names.note, mode=0o600, become=True)
        self.last = self.clock.monotonic()

    @property
    def due(self) -> bool:
        """Is it time for another note?"""
        now = self.clock.monotonic()
        return now - (self.last or self.began) >= max(EVERY, SHARE * (now - self.began))

    async def keep(self, target: str, writer: DiskWriter, size: int, upto: int) -> None:
        """Every so often: make what is stored of a disk durable, and note it. What fails here fails no backup."""
        if self.due:
            self.ended(target, Kept(await writer.keep(), size, upto))
            await self.attempt()

    def ended(self, target: str, kept: Kept) -> None:
        """How a disk is; it is noted with the next one, which makes it durable too."""
        self.note = replace(self.note, disks={**self.note.disks, target: kept})

    async def drop(self, target: str) -> None:
        """A disk is read anew from its beginning."""
        if target in self.note.disks:
            rest = {name: kept for name, kept in self.note.disks.items() if name != target}
            self.note = replace(self.note, disks=rest)
            await self.attempt()

    async def attempt(self) -> None:
        """``write``, if possible."""
        try:
            await self.write()
        except NovaFleetError as error:
            log.info("%s: %s cannot be noted: %s", self.ctx.host.name, self.names.note, error)


async def found(
    ctx: ActionContext, sight: Sight, repository: str, order: Order, parent: Snapshot | None
) -> Note | None:
    """What an earlier controller noted of the job that runs now, if that is what this order asks for."""
    names = Names(sight.domain.uuid)
    if sight.job is None or xml.job_socket(sight.job.xml) != names.socket(sight.home):
        return None
    try:
        note = decode(Note, json.loads(await ctx.session.pull(names.note, become=True)))
    except (NotFoundError, ValueError, TypeError, KeyError):
        return None
    known = {each.name for each in sight.checkpoints} | {""}
    asked = (repository, parent.id if parent and not order.full else "", order.full, order.exclude)
    fits = (note.repository, note.parent, note.full, note.exclude) == asked
    fits = fits and note.checkpoint in known and (not note.checkpoint or note.checkpoint.startswith(prefix(repository)))
    fits = fits and (order.consistency != "fs" or note.consistency is Consistency.FS)
    return note if fits else None


def taken_up(plans: Sequence[DiskPlan], job: str) -> tuple[DiskPlan, ...] | None:
    """The plans as that job carries them out; None when it is another one."""
    since = xml.job_disks(job)
    if {each.disk.target for each in plans} != since.keys():
        return None
    whole = {each.disk.target: "read whole by the run that began it" for each in plans if each.since}
    whole = {target: why for target, why in whole.items() if not since[target]}
    plans = without(plans, whole)
    return plans if all(each.since == since[each.disk.target] for each in plans) else None
