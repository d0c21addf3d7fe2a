"""A VM that is off, carried over: its image files as they are, with all that is inside, compared block by block."""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.capability.migration.across import sender
from novafleet.capability.migration.beside import carry_beside, carry_kept, repoint
from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.manifest import make
from novafleet.capability.migration.moved import images
from novafleet.capability.migration.power import arrive, power_off, refuse_started
from novafleet.capability.migration.route import Route
from novafleet.model.command import Command
from novafleet.model.migration import Move, MoveDisk, Phase

STAMP = 'stat -L -c "%n %s %y" -- "$@"'


@dataclass(frozen=True, slots=True)
class Copied:
    """``total`` bytes of data the disks have, ``sent`` those that had to be carried; ``downtime_ms`` from the moment
    the guest stood still to the one it ran on the destination (-1: it was off before)."""

    total: int
    sent: int
    downtime_ms: float = -1.0


async def copy_cold(ends: Ends, move: Move, route: Route | None = None, *, stop_timeout: float = 120.0) -> Copied:
    """Shut the guest down (within ``stop_timeout`` seconds), carry its files over, define it and start it if it ran.

    ``prepare`` came before. Host to host over ``route``, else through the controller. What an earlier try brought is
    compared and not sent again. Raises MigrationError NF-MIG-410 (it would not shut down), -411 (what came differs),
    -412 (it was started meanwhile), BlockError, CommandError. After an error: ``rollback``.
    """
    await ends.note(Phase.COPYING, {"mode": "cold"})
    stopped = await power_off(ends, move, stop_timeout)
    way = sender(move, route)
    cargoes = [cargo for disk in _moving(move) for cargo in images(disk)]
    await make(ends.destination, move, [("file", cargo.target, "0") for cargo in cargoes])
    before = await _stamp(ends, cargoes)
    carried = await carry(ends, cargoes, way)
    await carry_beside(ends, move)
    await carry_kept(ends, move)
    await repoint(ends, move)
    await refuse_started(ends, move, untouched=await _stamp(ends, cargoes) == before)
    arrived = await arrive(ends, move)
    return Copied(carried.total, carried.sent, (arrived - stopped) * 1000 if move.running else -1.0)


def _moving(move: Move) -> list[MoveDisk]:
    return [disk for disk in move.disks if not (disk.shared or disk.readonly)]


async def _stamp(ends: Ends, cargoes: list[Cargo]) -> str:
    if not cargoes:
        return ""
    return (await ends.source.session.run(Command.script(STAMP, *(each.source for each in cargoes), become=True))).text
