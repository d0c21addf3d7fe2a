"""Files from host to host as they are: holes are never sent, what is there already is not sent again, and all of it is
compared on the hosts in the end. Nothing is installed there: dd, zstd where both have it, b2sum, qemu-img."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.pieces import Layout, Piece, batches, cut, layouts, listed, total
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.through import Load, Packed, Sender
from novafleet.errors import BlockError, ChannelError, CommandError, MigrationError, Retry, UnreachableError
from novafleet.model.command import Command

TRIES = 5
"""How often in a row sending may bring nothing further before it is given up."""
PAUSE = 1.0
LITTLE = 4 << 20
"""Bytes of a target not worth comparing, such as the header of an empty volume: it is emptied."""
SIZE = '[ "$3" != 0 ] || truncate -s 0 -- "$1" && truncate -s "$2" -- "$1"'
SYNC = 'sync -- "$1"'
LOST = (UnreachableError, ChannelError, BlockError)


@dataclass(frozen=True, slots=True)
class Cargo:
    """One file: ``source`` on the one host, ``target`` on the other (there already, whatever its content)."""

    name: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Carried:
    """``total`` bytes of data the files have, ``sent`` those that were carried (before packing)."""

    total: int = 0
    sent: int = 0

    def __add__(self, other: Carried) -> Carried:
        return Carried(self.total + other.total, self.sent + other.sent)


async def carry(ends: Ends, cargoes: Sequence[Cargo], sender: Sender, *, rough: bool = False) -> Carried:
    """Make each target what its source is. Raises MigrationError NF-MIG-411 when that cannot be reached.

    ``rough``: sources are written to meanwhile, so that it is not compared in the end; another time it will be."""
    carried = Carried()
    for cargo in cargoes:
        carried += await _one(ends, cargo, sender, rough=rough)
    return carried


async def _one(ends: Ends, cargo: Cargo, sender: Sender, *, rough: bool) -> Carried:
    (codec, here), (other, there) = await asyncio.gather(
        measure(ends.source, [cargo.source]), measure(ends.destination, [cargo.target])
    )
    source, target = here[0], there[0]
    if source.size < 0:
        raise _differs(ends, cargo, f"{cargo.source} is not there")
    if total(target.data) <= LITTLE:
        target = Layout(0)
    if target.size != source.size:
        how = Command.script(SIZE, cargo.target, str(source.size), str(target.size), become=True, mutates=True)
        await ends.destination.session.run(how)
    pieces, fresh = cut(source, target), not target.data
    packed = Packed("zstd" if codec == other == "zstd" else "none", fresh=fresh)
    missing = pieces if fresh else await _differing(ends, cargo, pieces)
    run = _Run(ends, cargo, sender, packed, total(pieces))
    await run.once(missing) if rough else await run.bring(missing)
    await ends.destination.session.run(Command.script(SYNC, cargo.target, become=True, mutates=True))
    return Carried(total(pieces), run.sent)


async def measure(end: End, paths: Sequence[str]) -> tuple[str, tuple[Layout, ...]]:
    """The codec a host has, and where its files hold data."""
    mark = f"@@{secrets.token_hex(8)}"
    done = await end.session.run(script("extents.sh", mark, *paths))
    return layouts(done.text, mark)


class _Run:
    """One file on its way, until both hosts have the same."""

    def __init__(self, ends: Ends, cargo: Cargo, sender: Sender, packed: Packed, size: int) -> None:
        self._ends, self._cargo, self._sender, self._packed = ends, cargo, sender, packed
        self._size = size
        self.sent = 0
        self._same = size

    async def bring(self, missing: Sequence[Piece]) -> None:
        """Send what is missing, compare it, and send again what differs."""
        self._same = self._size - total(missing)
        tries = 0
        while missing:
            before = total(missing)
            missing, lost = await self._pass(missing)
            tries = tries + 1 if total(missing) >= before else 0
            if missing and tries == TRIES:
                raise lost or _differs(self._ends, self._cargo, f"{total(missing)} bytes of {self._cargo.target}")
            if lost:
                await asyncio.sleep(PAUSE)
            self._packed = Packed(self._packed.codec, fresh=False)

    async def once(self, missing: Sequence[Piece]) -> None:
        """Send what is missing, whatever comes of it."""
        for batch in batches(missing):
            await self._send(batch)

    async def _send(self, batch: Sequence[Piece]) -> None:
        cargo = self._cargo
        await self._sender.send(self._ends, Load(cargo.source, cargo.target, batch, self._packed), self._tell)
        self.sent += total(batch)

    async def _pass(self, missing: Sequence[Piece]) -> tuple[Sequence[Piece], Exception | None]:
        """Send once, each batch compared while the next is under way; what is missing still, and what broke off."""
        wrong: list[Piece] = []
        checking: asyncio.Task[Sequence[Piece]] | None = None
        try:
            for batch in batches(missing):
                await self._send(batch)
                if checking is not None:
                    wrong += await checking
                checking = asyncio.create_task(_differing(self._ends, self._cargo, batch))
            if checking is not None:
                wrong += await checking
        except LOST as error:
            return await self._after(error, missing), error
        finally:
            if checking is not None:
                checking.cancel()
        return wrong, None

    async def _after(self, error: Exception, missing: Sequence[Piece]) -> Sequence[Piece]:
        """What of it is not there, once both hosts answer again."""
        for _ in range(TRIES):
            await asyncio.sleep(PAUSE)
            try:
                return await _differing(self._ends, self._cargo, missing)
            except LOST as again:
                error = again
        raise error

    def _tell(self, count: int) -> None:
        self._same += count
        self._ends.tell(f"{self._cargo.name}: copy", min(self._same, self._size), self._size)


async def _differing(ends: Ends, cargo: Cargo, pieces: Sequence[Piece]) -> Sequence[Piece]:
    here, there = await asyncio.gather(
        _digests(ends.source, cargo.source, pieces), _digests(ends.destination, cargo.target, pieces)
    )
    return [piece for piece, one, other in zip(pieces, here, there, strict=True) if one != other]


async def _digests(end: End, path: str, pieces: Sequence[Piece]) -> Sequence[str]:
    done = await end.session.run(script("digest.sh", path), stdin=listed(pieces))
    found = done.text.splitlines()
    if len(found) != len(pieces):
        raise MigrationError(
            f"{path} cannot be compared",
            code="NF-MIG-411",
            where=end.host.name,
            cause=f"{len(found)} digests of {len(pieces)} pieces: {done.stderr.decode('utf-8', 'replace')[-200:]}",
            retry=Retry.NOW,
        )
    return found


def _differs(ends: Ends, cargo: Cargo, cause: str) -> MigrationError:
    return MigrationError(
        f"{cargo.name} did not come over as it is",
        code="NF-MIG-411",
        where=ends.destination.host.name,
        cause=cause,
        hints=("run it again: what came is kept", f"journalctl -k   # on {ends.destination.host.name}: its disk"),
        retry=Retry.NOW,
    )


def full(error: CommandError) -> bool:
    """Was it the room that was missing?"""
    return "No space left" in error.stderr
