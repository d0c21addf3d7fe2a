"""The way back of a migration that failed: one VM on the source as before, nothing of the job on the destination."""

from __future__ import annotations

from novafleet.capability.migration import follow
from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.manifest import read_manifest
from novafleet.capability.migration.power import OFF, state
from novafleet.capability.migration.prepare import unprepare
from novafleet.capability.migration.quarantine import drop, quarantine_of, take_back
from novafleet.capability.migration.rounds import clear, quiet
from novafleet.errors import MigrationError, NotFoundError, NovaFleetError, Retry
from novafleet.model.migration import Move, Phase


async def rollback(ends: Ends, move: Move) -> None:
    """Destroy and undefine what this job brought to the destination, remove what its manifest says, and make the source
    what it was: files out of quarantine, definition, snapshots, autostart, running if it ran. Convergent.

    The caller has made sure that the source has the VM's data: never after a live switch-over. Raises MigrationError
    NF-MIG-502 when the destination's domain is not this job's, NF-MIG-503 when the source cannot run it again.
    """
    await _clear(ends.destination, move)
    await quiet(ends.destination, move)
    await unprepare(ends.destination, move.job)
    try:
        await _restore(ends.source, move)
    except MigrationError:
        raise
    except NovaFleetError as error:
        raise MigrationError(
            f"{move.domain} is not again what it was on {ends.source.host.name}",
            code="NF-MIG-503",
            where=ends.source.host.name,
            cause=str(error),
            hints=(*error.hints, "novafleet migrate recover --explain"),
            retry=Retry.LATER,
        ) from error
    await ends.note(Phase.ROLLED_BACK, {})


async def _clear(destination: End, move: Move) -> None:
    """Nothing of this VM runs or is defined there afterwards."""
    try:
        found = await destination.hypervisor.domain_state(move.domain)
    except NotFoundError:
        return
    made = await read_manifest(destination, move.job) is not None
    if found.uuid != move.uuid and not made:
        return  # nothing was made here, and another VM has the name
    if found.uuid != move.uuid or not made:
        raise MigrationError(
            f"the {move.domain} on {destination.host.name} is not what this migration brought",
            code="NF-MIG-502",
            where=destination.host.name,
            cause=f"its UUID is {found.uuid}, and job {move.job} left no manifest of its own there",
            hints=(f"virsh dominfo {move.domain}   # on both hosts", "novafleet migrate recover --explain"),
        )
    await destination.hypervisor.destroy_domain(move.domain)
    await destination.hypervisor.undefine_domain(move.domain)


async def _restore(source: End, move: Move) -> None:
    if await state(source, move.domain):
        await clear(source, move)
    kept = await quarantine_of(source, move.job)
    if kept is not None:
        await take_back(source, kept)
    now = await state(source, move.domain)
    if not now:
        await source.hypervisor.define_domain(move.xml)
        await follow.redefine_checkpoints(source, move.domain, move.checkpoints)
    await follow.redefine_snapshots(source, move.domain, move.snapshots, await _newest(source, move))
    await follow.change_leases(source, move.leases, add=True)
    await source.hypervisor.set_domain_autostart(move.domain, move.autostart)
    if kept is not None:
        await drop(source, kept)
    if move.running and (now in OFF or not now):
        await source.hypervisor.start_domain(move.domain)


async def _newest(source: End, move: Move) -> str:
    """The snapshot to call current, unless libvirt knows one."""
    known = await follow.current_snapshot(source, move.domain)
    return known or (follow.name_of(move.snapshots[-1]) if move.snapshots else "")
