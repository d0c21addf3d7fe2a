"""``migrate undo|ls|prune``: the disks that sources keep of VMs that left, and the way back to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from novafleet.app.context import Reached, reach
from novafleet.app.migrate import DAY, Confirm, Done, Request, Watch, migrate
from novafleet.app.migratestack import StackRequest, migrate_stack
from novafleet.app.recover import recover
from novafleet.app.recovery import Order
from novafleet.app.wiring import World, open_world
from novafleet.capability.migration.gates import WORD
from novafleet.capability.migration.guest import read
from novafleet.capability.migration.quarantine import Quarantine, drop, quarantines
from novafleet.capability.migration.recover import Action
from novafleet.errors import ExitCode, MigrationError, NotFoundError, NovaFleetError, Retry
from novafleet.model.migration import Mode, Wanted


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """``vm``: a domain's name, HOST/DOMAIN (where it is, or was), or ENV/NAME. ``mode`` AUTO: the one it left by."""

    inventory: tuple[Path, ...]
    vm: str
    mode: Mode = Mode.AUTO
    undo: float = DAY
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What sources keep, oldest first, at time ``now`` (seconds since the epoch); hosts that could not be asked, and
    why. ``dropped``: deleted just now."""

    now: float
    kept: tuple[Quarantine, ...]
    unseen: Mapping[str, NovaFleetError]
    dropped: tuple[Quarantine, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0; 3 when a host could not be asked, 4 when none could."""
        if not self.unseen:
            return ExitCode.OK
        return ExitCode.PARTIAL if self.kept or self.dropped else ExitCode.UNREACHABLE


async def ls(inventory: tuple[Path, ...]) -> Kept:
    """What could be undone, and until when."""
    async with open_world(inventory) as world:
        kept, _ = await _all(world)
        return kept


async def _all(world: World) -> tuple[Kept, Mapping[str, Reached]]:
    reached, failed = await reach(world, world.fleet.hosts)
    found: list[Quarantine] = []
    for host in reached.values():
        try:
            found += await quarantines(host)
        except NovaFleetError as error:
            failed = {**failed, host.host.name: error.at(host.host.name)}
    return Kept(world.clock.now(), tuple(sorted(found, key=lambda each: each.at)), failed), reached


async def undo(request: UndoRequest, watch: Watch, confirm: Confirm) -> Done:
    """Move a VM back to where it came from, with the data it has now; what was kept there of it then goes.

    Raises MigrationError NF-MIG-504 when nothing is kept of it, NF-MIG-505 when it is not where it went, and what
    ``migrate`` raises. What was kept stays until the VM is back.
    """
    if not await _let_go(request, confirm):
        return Done("", single=True, declined=True)
    async with open_world(request.inventory) as world:
        kept, reached = await _all(world)
        last = chosen(kept, request.vm)
        networks = {} if is_stack(last) else way_back(last.xml, await _arrived(reached, last))
    if is_stack(last):
        project = last.domain.removeprefix("stack.")
        wish = StackRequest(
            request.inventory, f"{last.destination}/{project}", last.host, request.undo, request.lock_wait
        )
        return await migrate_stack(wish, watch, confirm)
    wanted = Wanted(mode=Mode(last.mode) if request.mode is Mode.AUTO else request.mode, networks=networks)
    label = f"{last.destination}/{last.domain}"
    back = Request(request.inventory, (label,), last.host, wanted, request.undo, lock_wait=request.lock_wait)
    done = await migrate(back, watch, confirm)
    if done.vms and all(each.state == "done" for each in done.vms):
        await _drop(request.inventory, last)
    return done


async def _let_go(request: UndoRequest, confirm: Confirm) -> bool:
    """A VM that arrived and was not ready there is still known to its source, which lets go of it first: its old disks
    into quarantine, as after any migration. False when nobody agreed. Raises MigrationError NF-MIG-505."""
    found = await recover(request.inventory, (request.vm,), Order(explain=True))
    arrived = [each for each in found.jobs if each.decision.action is Action.COMMIT]
    if not arrived:
        return True
    if not confirm([f"{each.domain}: {each.source} lets go of its old disks, and gets it back" for each in arrived]):
        return False
    ended = await recover(request.inventory, (request.vm,), Order(False, request.lock_wait, frozenset({WORD})))
    for each in ended.jobs:
        if not each.done:
            raise MigrationError(
                f"the migration of {each.domain} to {each.destination} could not be ended first",
                code="NF-MIG-505",
                where=each.destination,
                cause=str((each.error or {}).get("what", each.decision.why)),
                hints=("novafleet migrate recover --explain",),
            )
    return True


def chosen(kept: Kept, vm: str) -> Quarantine:
    """The newest one of the VM meant: where it came from last. One that had its name on that host before is gone."""
    found = [each for each in kept.kept if meant(vm, each)]
    labels = sorted({f"{each.destination}/{each.domain}" for each in found})
    if found and (len(labels) == 1 or len({each.uuid for each in found}) == 1):
        return found[-1]
    if found:
        raise MigrationError(
            f"{vm!r} leads to {len(labels)} VMs",
            code="NF-MIG-504",
            cause=", ".join(labels),
            hints=(f"say which: {labels[0]}",),
        )
    unseen = ", ".join(sorted(kept.unseen))
    raise MigrationError(
        f"nothing is kept of a migration of {vm!r}",
        code="NF-MIG-504",
        cause=f"not asked, because unreachable: {unseen}" if unseen else "it never left a host, or its time is over",
        hints=("novafleet migrate ls   # what can be undone", f"novafleet migrate {vm} --to HOST"),
        retry=Retry.LATER if unseen else Retry.NEVER,
    )


def is_stack(kept: Quarantine) -> bool:
    """Is it a container stack that left?"""
    return kept.vm.startswith("stack.") and not kept.xml


def meant(vm: str, kept: Quarantine) -> bool:
    """Does a person mean this VM?"""
    labels = [kept.domain, f"{kept.destination}/{kept.domain}", f"{kept.host}/{kept.domain}"]
    if kept.environment:
        labels.append(f"{kept.environment}/{kept.vm}")
    if is_stack(kept):
        labels += [label.replace("stack.", "", 1) for label in labels]
    return any(fnmatchcase(label, vm) for label in labels)


def way_back(before: str, now: str) -> Mapping[str, str]:
    """Pure: the networks its cards are on now, and were on before it left."""
    was, on = ({nic.mac.lower(): nic.source for nic in read(xml).nics if nic.mac} for xml in (before, now))
    return {on[mac]: name for mac, name in was.items() if mac in on and name and on[mac] not in ("", name)}


async def _arrived(reached: Mapping[str, Reached], last: Quarantine) -> str:
    """The VM's definition where it went. Raises MigrationError NF-MIG-505 unless it is there, and the same one."""
    there, cause = reached.get(last.destination), "that host cannot be reached"
    if there is not None:
        try:
            found = await there.hypervisor.domain(last.domain)
            if found.uuid == last.uuid:
                return found.xml
            cause = f"the one of that name there is another: {found.uuid}"
        except NotFoundError:
            cause = "it is not there any more"
    raise MigrationError(
        f"{last.domain} went to {last.destination} and cannot be brought back from there",
        code="NF-MIG-505",
        where=last.destination,
        cause=cause,
        hints=("novafleet vm ls", f"its disks as they were when it left are on {last.host}: novafleet migrate ls"),
    )


async def _drop(inventory: tuple[Path, ...], last: Quarantine) -> None:
    async with open_world(inventory) as world:
        reached, _ = await reach(world, (last.host,))
        if last.host in reached:
            await drop(reached[last.host], last)


async def prune(
    inventory: tuple[Path, ...], confirm: Callable[[Sequence[str]], bool], *, everything: bool, dry_run: bool
) -> Kept:
    """Delete what is kept beyond its time, or with ``everything`` all of it. What a migration left unfinished stays."""
    async with open_world(inventory) as world:
        kept, reached = await _all(world)
        over = tuple(each for each in kept.kept if each.committed and (everything or each.until <= kept.now))
        lines = [f"{each.domain}: its disks on {each.host} as they were when it left" for each in over]
        if not over or dry_run or not confirm(lines):
            return replace(kept, dropped=over if dry_run else ())
        for each in over:
            await drop(reached[each.host], each)
        return replace(kept, kept=tuple(each for each in kept.kept if each not in over), dropped=over)
