"""A running VM's disks carried over while it runs; then a short stop, what changed meanwhile, and a start."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

from novafleet.capability.migration.beside import carry_beside
from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.cold import Copied, copy_cold
from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.power import arrive, power_off, refuse_started
from novafleet.capability.migration.rounds import Rounds, clear, quiet, served
from novafleet.capability.migration.through import ThroughController
from novafleet.model.command import Command
from novafleet.model.migration import Move, MoveDisk, Phase

INFO = ("qemu-img", "info", "-U", "--output=json", "-f")


async def copy_warm(ends: Ends, move: Move, *, stop_timeout: float = 120.0) -> Copied:
    """Copy all disks from a frozen moment, then what changed, round by round; shut the guest down, copy the rest,
    define and start it on the destination. ``prepare`` came before.

    Disks that cannot record what changes (raw) are carried over as they are, and compared block by block while the
    guest is off. Raises what ``copy_cold`` raises, and MigrationError NF-MIG-413 when its disks cannot be read.
    """
    if not move.running:
        return await copy_cold(ends, move, stop_timeout=stop_timeout)
    await ends.note(Phase.COPYING, {"mode": "warm"})
    disks = [disk for disk in move.disks if not (disk.shared or disk.readonly)]
    recording = [disk for disk in disks if await _records(ends.source, disk)]
    plain = [Cargo(disk.target, disk.source, disk.path) for disk in disks if disk not in recording]
    sender = ThroughController(move.wanted.bandwidth)
    try:
        async with AsyncExitStack() as stack:
            sockets = {
                disk.target: await stack.enter_async_context(served(ends.destination, move, disk, disk.path))
                for disk in recording
            }
            rounds = Rounds(ends, move, recording, sockets)
            rough = await carry(ends, plain, sender, rough=True)
            await rounds.run()
            stopped = await power_off(ends, move, stop_timeout)
            await rounds.rest()
        exact = await carry(ends, plain, sender)
        await carry_beside(ends, move)
    finally:
        await quiet(ends.destination, move)
        await clear(ends.source, move)
    await refuse_started(ends, move)
    arrived = await arrive(ends, move)
    sent = rounds.copied + rough.sent + exact.sent
    return Copied(sent, sent, (arrived - stopped) * 1000)


async def _records(source: End, disk: MoveDisk) -> bool:
    """Can its image keep a bitmap? qcow2 can since version 3."""
    if disk.format != "qcow2":
        return False
    done = await source.session.run(Command((*INFO, disk.format, disk.source), become=True))
    data = json.loads(done.stdout).get("format-specific", {}).get("data", {})
    return bool(data.get("compat") != "0.10")
