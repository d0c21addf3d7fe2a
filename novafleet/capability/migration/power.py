"""A guest asked to power off, and a definition started: what cold, warm and the way back have in common."""

from __future__ import annotations

import asyncio

from novafleet.capability.migration.definition import arriving, booting
from novafleet.capability.migration.ends import End, Ends
from novafleet.capability.migration.scripts import script
from novafleet.errors import MigrationError, NotFoundError, Retry
from novafleet.model.migration import Move, Phase

OFF = frozenset(("shutoff", "crashed"))
"""States without a QEMU process."""
POLL = 0.1
WAITING = frozenset(("migration", "starting up", "api error"))
"""Reasons of a guest paused by libvirt: at the door, or its migration broke off and it could not be resumed."""
ASK_AGAIN = 10.0
"""Seconds after which a guest that has not heard its power button is asked once more."""


async def state(end: End, domain: str) -> str:
    """A domain's state; "" for one that is not there."""
    try:
        return (await end.hypervisor.domain_state(domain)).state
    except NotFoundError:
        return ""


async def go_on(source: End, move: Move) -> None:
    """Let a guest run again that waits for a migration which is over. On storage that libvirt does not know to be
    shared, the destination's took the disks from the source's QEMU when its own ended: they are given back first."""
    found = await source.hypervisor.domain_state(move.domain)
    if found.state != "paused" or found.reason not in WAITING:
        return
    if move.shares:
        files = [disk.source for disk in move.disks if disk.shared and not disk.readonly]
        await source.session.run(script("owner.sh", move.domain, *files, mutates=True), check=False)
    await source.hypervisor.resume_domain(move.domain)


async def power_off(ends: Ends, move: Move, timeout: float) -> float:
    """Shut the guest down; the loop's time when it was first seen off. Raises MigrationError NF-MIG-410 when it is not
    off after ``timeout`` seconds."""
    clock = asyncio.get_running_loop().time
    deadline, asked = clock() + timeout, -ASK_AGAIN
    while (now := await state(ends.source, move.domain)) not in (*OFF, ""):
        if clock() > deadline:
            raise _stays_on(ends, move, timeout, now)
        if now == "paused":
            await ends.source.hypervisor.resume_domain(move.domain)
        if clock() > asked + ASK_AGAIN:
            asked = clock()
            ends.tell(f"{move.domain}: shutting down", 0, 0)
            await ends.source.hypervisor.shutdown_domain(move.domain)
        await asyncio.sleep(POLL)
    return clock()


def _stays_on(ends: Ends, move: Move, timeout: float, now: str) -> MigrationError:
    return MigrationError(
        f"{move.domain} did not shut down within {timeout:.0f} s",
        code="NF-MIG-410",
        where=ends.source.host.name,
        cause=f"it is {now}; the guest does not answer its power button, and has no agent",
        hints=(
            "shut it down from inside, or install acpid or qemu-guest-agent in the guest",
            "or migrate it --mode live, which does not ask the guest",
        ),
        retry=Retry.AFTER_FIX,
    )


async def arrive(ends: Ends, move: Move) -> float:
    """Define the VM on the destination and start it if it ran; the loop's time when it did. From here on the
    destination has the truth. Journals SWITCHING before, SWITCHED after."""
    capabilities = await ends.destination.hypervisor.capabilities()
    definition = booting(arriving(move, move.xml), capabilities)
    await ends.note(Phase.SWITCHING, {"running": move.running})
    if move.autostart:
        await ends.source.hypervisor.set_domain_autostart(move.domain, False)
    await ends.destination.hypervisor.define_domain(definition)
    if move.running:
        await ends.destination.hypervisor.start_domain(move.domain)
    arrived = asyncio.get_running_loop().time()
    await ends.note(Phase.SWITCHED, {})
    return arrived


async def refuse_started(ends: Ends, move: Move, *, untouched: bool = True) -> None:
    """Raise MigrationError NF-MIG-412 when somebody started the VM on the source while its disks were read."""
    now = await state(ends.source, move.domain)
    if now not in (*OFF, "") or not untouched:
        raise MigrationError(
            f"{move.domain} was started while its disks were carried over",
            code="NF-MIG-412",
            where=ends.source.host.name,
            cause=f"it is {now or 'gone'} now",
            hints=("nothing is lost: it is where it was. Migrate it again",),
            retry=Retry.NOW,
        )
