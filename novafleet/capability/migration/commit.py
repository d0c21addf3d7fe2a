"""The second step: the source lets go of a VM seen to run on its destination, and keeps its disks for a while."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from novafleet.capability.migration import follow
from novafleet.capability.migration.belongings import belongings, candidates
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.manifest import forget
from novafleet.capability.migration.moved import relocations
from novafleet.capability.migration.power import OFF, state
from novafleet.capability.migration.quarantine import (
    Quarantine,
    drop,
    kept_at,
    occupied,
    put_away,
    quarantines,
    record,
)
from novafleet.errors import MigrationError, NotFoundError
from novafleet.model.migration import Mode, Move, Phase
from novafleet.together import together

DAY = 86400.0


async def commit(ends: Ends, move: Move, mode: Mode, *, ttl: float = DAY) -> Quarantine:
    """Undefine the source, its files renamed into quarantine for ``ttl`` seconds; snapshots, checkpoints, autostart and
    leases follow. Convergent: a killed one is gone on with by calling it again.

    Only for a VM seen running on the destination (or defined there, when it was off). Raises MigrationError NF-MIG-501
    when it is not there, or still runs here.
    """
    _, records = await together(_refuse_unsafe(ends, move), quarantines(ends.source))
    known = next((each for each in records if each.job == move.job), None)
    kept = known or await _begin(ends, move, mode, ttl)
    await _follow(ends, move, mode)
    await put_away(ends.source, kept)
    await ends.source.hypervisor.undefine_domain(move.domain, nvram=False)
    await follow.change_leases(ends.source, move.leases, add=False)
    kept = replace(kept, committed=True)
    await record(ends.source, kept)
    await together(forget(ends.destination, move.job), _tidy(ends, move, (*records, kept)))
    await ends.note(Phase.COMMITTED, {"undo_until": kept.until})
    return kept


async def _tidy(ends: Ends, move: Move, here: Sequence[Quarantine]) -> None:
    """What the destination kept of this VM from the day it left there is older than what came back; and what is kept
    on the source beyond its time goes."""
    for each in await quarantines(ends.destination):
        if each.uuid == move.uuid and each.host == move.destination and each.committed:
            await drop(ends.destination, each)
    for each in here:
        if each.committed and each.until < time.time():
            await drop(ends.source, each)


async def _refuse_unsafe(ends: Ends, move: Move) -> None:
    here = await state(ends.source, move.domain)
    try:
        arrived = await ends.destination.hypervisor.domain_state(move.domain)
        there, same = arrived.state, arrived.uuid == move.uuid
    except NotFoundError:
        there, same = "not there", False
    if same and here in (*OFF, "") and (there not in OFF or not move.running):
        return
    raise MigrationError(
        f"{move.domain} is not where it should be: {ends.source.host.name} keeps it as it is",
        code="NF-MIG-501",
        where=ends.destination.host.name,
        cause=f"there it is {there}, on {ends.source.host.name} {here or 'not there'}",
        hints=("novafleet migrate recover --explain",),
    )


async def _begin(ends: Ends, move: Move, mode: Mode, ttl: float) -> Quarantine:
    """The record comes first: whatever happens then, it says where everything is."""
    paths, size = await together(belongings(ends.source, move), occupied(ends.source, candidates(move)))
    now = time.time()
    kept = Quarantine(
        job=move.job,
        vm=move.vm,
        domain=move.domain,
        uuid=move.uuid,
        environment=move.environment,
        host=move.source,
        destination=move.destination,
        mode=mode.value,
        at=now,
        until=now + ttl,
        xml=move.xml,
        running=move.running,
        autostart=move.autostart,
        snapshots=move.snapshots,
        checkpoints=move.checkpoints,
        files={path: kept_at(move.job, path) for path in paths},
        leases=move.leases,
        size=size,
    )
    await record(ends.source, kept)
    return kept


async def _follow(ends: Ends, move: Move, mode: Mode) -> None:
    """What libvirt keeps of the VM, on the destination. Snapshots need the images they are made of."""
    destination, paths = ends.destination, relocations(move)
    if mode is Mode.COLD or all(disk.shared for disk in move.disks):
        snapshots = [follow.relocated(xml, paths) for xml in move.snapshots]
        current = await _current(ends, move)
        await follow.redefine_snapshots(destination, move.domain, snapshots, current)
    if mode is not Mode.WARM and move.checkpoints:
        lost = await follow.redefine_checkpoints(destination, move.domain, move.checkpoints)
        if lost:
            ends.tell(f"{move.domain}: the next backup reads it whole: {len(lost)} bitmaps did not come along", 0, 0)
    await destination.hypervisor.set_domain_autostart(move.domain, move.autostart)


async def _current(ends: Ends, move: Move) -> str:
    """The snapshot it is based on: as the source knows, else the newest."""
    if not move.snapshots:
        return ""
    try:
        found = await follow.current_snapshot(ends.source, move.domain)
    except NotFoundError:
        found = ""
    return found or follow.name_of(move.snapshots[-1])
