"""A running guest carried over while it runs: pre-copy, or post-copy once pre-copy has brought everything once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from xml.etree import ElementTree

from novafleet.capability.migration.budget import Budget
from novafleet.capability.migration.definition import arriving
from novafleet.capability.migration.downtime import UNKNOWN, EventClock, Silence, Watcher, event_clock, outside
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.neighbours import greet, neighbours
from novafleet.capability.migration.route import Route
from novafleet.capability.migration.sides import OFF
from novafleet.errors import DeadlineError, HypervisorError, MigrationError, NovaFleetError, Retry
from novafleet.model.migration import Mode, Move, MoveDisk, Path, Progress
from novafleet.ports import Hypervisor
from novafleet.together import together

POLL = 0.2
MIB = 1 << 20
QEMU_LIMIT = 300
"""Milliseconds: what QEMU has by itself, and gets back when nothing comes of the migration."""
SETTLE = 2.0
"""Seconds an event of the destination may be late."""
GONE = 20.0
"""Seconds without QEMU on the source after which a post-copy that has not ended never will: libvirt 11.3 of the
destination was seen to wait for the rest of the memory for as long as anybody looked."""
NOT_NOW = "NF-LV-186"
UNDER_WAY = ("bounded", "unbounded")


@dataclass(frozen=True, slots=True)
class Moved:
    """``downtimes`` in milliseconds by who measured them (libvirt, events, probe), without those nobody could;
    ``postcopy``: it was switched over before all memory was there. ``probe`` says who asked whom."""

    downtimes: Mapping[str, float]
    postcopy: bool
    final: Progress
    probe: str = ""


async def migrate_live(
    ends: Ends,
    move: Move,
    route: Route,
    mode: Mode,
    *,
    hold: bool = False,
    seconds: float = 0.0,
    watchers: Sequence[Watcher] = (),
) -> Moved:
    """Move the running guest; ``mode`` is LIVE or POSTCOPY, ``seconds`` what it may take (0: what it takes). ``hold``:
    its CPUs wait on the destination until the source is known to have let go (``must_hold``).

    ``prepare`` came before, and the snapshots' metadata is gone from the source (libvirt refuses otherwise). Afterwards
    the destination runs it, persistently; the source has it defined, off. Raises MigrationError NF-MIG-202 (never
    through), NF-MIG-206 (the source's QEMU ended in post-copy), DeadlineError NF-MIG-201, HypervisorError NF-LV-18x:
    unless post-copy had begun the guest stays. After an error look at both hosts.
    """
    source, destination = ends.source.hypervisor, ends.destination.hypervisor
    parameters, known = await together(_parameters(source, move, route, mode), neighbours(ends.source, move))
    async with (
        outside(ends.source, move.domain, watchers) as silence,
        event_clock(source, destination, move.domain) as clock,
        _limited(source, move) as budget,
    ):
        call = asyncio.create_task(
            source.migrate(move.domain, route.uri, parameters, _flags(move, route, mode, hold=hold))
        )
        drive = _Drive(ends, move, mode, budget, seconds)
        try:
            await drive.until(call)
            call.result()
            if hold:
                await destination.resume_domain(move.domain)
            await greet(ends.destination, move, known)
        except HypervisorError as error:
            raise drive.verdict or _explained(error, route) from error
        finally:
            await _called_off(call)
        await _settled(clock)
    final = await source.migration(move.domain, completed=True)
    return Moved(_measured(final, clock, silence), drive.switched, final, _probe(silence))


async def must_hold(source: Hypervisor, move: Move, mode: Mode) -> bool:
    """Must its CPUs wait on the destination for our word? Where libvirt talks to libvirt through us: should we be lost
    between its last question and the answer, the source goes on, and so would the destination (Finish3, of which
    ``virDomainMigrateVersion3Full`` says that a lost answer counts as a failure). Where it talks from host to host, the
    guest shall arrive without us. Post-copy has no way back anyhow; a guest that is paused stays so.

    Of a disk both write to QEMU itself keeps one of them out, by its locks (the source has given its own up before that
    question, and cannot go on without them). And libvirt takes such a file away from a guest that waits, where it does
    not know the file system for a shared one: the source gives the image back to root."""
    if mode is not Mode.LIVE or move.path is not Path.RELAY or move.shares:
        return False
    return (await source.domain_state(move.domain)).state == "running"


async def resume_postcopy(source: Hypervisor, move: Move, route: Route) -> None:
    """Bring the rest of the memory of a guest whose post-copy broke off on both sides (VIR_MIGRATE_POSTCOPY_RESUME,
    libvirt 8.5). It waits on the destination for what it lacks. Raises HypervisorError; nothing is lost by that."""
    flags = frozenset({"live", "peer2peer", "persist_dest", "postcopy", "postcopy_resume"})
    parameters = {"migrate_uri": route.memory_uri, **route.parameters}
    try:
        await source.migrate(move.domain, route.uri, parameters, flags)
    except HypervisorError as error:
        raise _explained(error, route) from error


def _flags(move: Move, route: Route, mode: Mode, *, hold: bool) -> frozenset[str]:
    flags = {"live", "peer2peer", "persist_dest", "abort_on_error", "auto_converge"} | route.flags
    if hold:
        flags.add("paused")
    copied = _copied(move)
    if copied:
        flags.add("non_shared_inc" if all(_stands_on_same(disk) for disk in copied) else "non_shared_disk")
    if move.shares:
        flags.add("unsafe")  # libvirt knows network file systems by their type only; ours is proven to be one file
    if mode is Mode.POSTCOPY:
        flags.add("postcopy")
    elif _connections(move, mode):
        flags.add("parallel")
    if move.wanted.compress:
        flags.add("compressed")
    return frozenset(flags)


def _copied(move: Move) -> tuple[MoveDisk, ...]:
    return tuple(disk for disk in move.disks if not disk.shared and not disk.readonly)


def _stands_on_same(disk: MoveDisk) -> bool:
    """May only the top image be copied? Where it is the only one, or what lies below is there already as one image."""
    return len(disk.chain) <= 1 or (len(disk.chain) == 2 and bool(disk.backing))


async def _parameters(source: Hypervisor, move: Move, route: Route, mode: Mode) -> Mapping[str, object]:
    wanted, copied = move.wanted, _copied(move)
    parameters: dict[str, object] = {"migrate_uri": route.memory_uri, **route.parameters}
    if copied:
        parameters["migrate_disks"] = [disk.target for disk in copied]
        if route.disks_uri:
            parameters["disks_uri"] = route.disks_uri
    if wanted.bandwidth:
        parameters["bandwidth"] = max(1, wanted.bandwidth // MIB)
    connections = _connections(move, mode)
    if connections:
        parameters["parallel.connections"] = connections
    if wanted.compress:
        parameters["compression"] = "zstd" if connections else "xbzrle"
    if _differs(move):
        parameters["destination_xml"] = arriving(move, await source.migratable_xml(move.domain))
        parameters["persistent_xml"] = arriving(move, await source.migratable_xml(move.domain, inactive=True))
    return parameters


def _connections(move: Move, mode: Mode) -> int:
    """For the memory, beside the first; 0: that one carries it. By relay all share one SSH connection."""
    return 0 if mode is Mode.POSTCOPY or move.path is Path.RELAY else move.wanted.parallel


def _differs(move: Move) -> bool:
    """Is anything called otherwise on the destination?"""
    places = (*((each.source, each.path) for each in move.disks), *((each.source, each.path) for each in move.files))
    renamed = any(one != other for one, other in move.wanted.networks.items())
    pooled = ElementTree.fromstring(move.xml).find("devices/disk[@type='volume']") is not None
    return renamed or pooled or any(one != other for one, other in places)


@asynccontextmanager
async def _limited(source: Hypervisor, move: Move) -> AsyncIterator[Budget]:
    """Before it starts, or a small guest is through under QEMU's own limit; given back when the guest stays."""
    budget = Budget(move.wanted.max_downtime)
    with suppress(HypervisorError):  # a libvirt that wants a migration under way first is told then
        await source.set_max_downtime(move.domain, budget.limit)
    try:
        yield budget
    except BaseException:
        with suppress(NovaFleetError):  # the guest is not here any more, or the host is not
            await source.set_max_downtime(move.domain, QEMU_LIMIT)
        raise


class _Drive:
    """Watches one migration and steers it: the limit, the switch to post-copy, the deadline, the end."""

    def __init__(self, ends: Ends, move: Move, mode: Mode, budget: Budget, seconds: float) -> None:
        self._ends, self._move, self._mode, self._budget = ends, move, mode, budget
        self._source = ends.source.hypervisor
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + seconds if seconds else 0.0
        self._gone = math.inf
        """When the source's QEMU was first seen to be gone in post-copy."""
        self.switched = False
        self.verdict: NovaFleetError | None = None
        """Why we called it off."""

    async def until(self, call: asyncio.Future[None]) -> None:
        """To its end, whatever that is. Raises MigrationError NF-MIG-206 when it has none."""
        while not call.done():
            await asyncio.wait({call}, timeout=POLL)
            if not call.done():
                await self._steer()

    async def _steer(self) -> None:
        now = await self._source.migration(self._move.domain)
        if now.kind not in UNDER_WAY:
            if self.switched:
                await self._refuse_endless()
            return
        self._tell(now)
        if self.switched or self.verdict is not None:
            return
        try:
            await self._decide(now)
        except HypervisorError as error:
            if error.code != NOT_NOW:  # it ended while we were thinking
                raise

    async def _refuse_endless(self) -> None:
        found = await self._source.domain_state(self._move.domain)
        if found.state in OFF and found.reason != "migrated":
            self._gone = min(self._gone, self._clock())
        if self._clock() > self._gone + GONE:
            raise _half_lost(self._move, found.reason)

    async def _decide(self, now: Progress) -> None:
        late = bool(self._until) and self._clock() > self._until
        hopeless = self._budget.hopeless(now)
        if self._mode is Mode.POSTCOPY and (now.iteration >= 2 or (now.iteration and (late or hopeless))):
            await self._source.start_postcopy(self._move.domain)
            self.switched = True
        elif late or hopeless:
            self.verdict = _too_late(self._move, self._seconds) if late else _never(self._move, now)
            await self._source.abort_migration(self._move.domain)
        elif self._budget.raised(now):
            await self._source.set_max_downtime(self._move.domain, self._budget.limit)

    def _tell(self, now: Progress) -> None:
        disks = now.disk_remaining > 0 and not now.iteration
        done, total = (now.disk_processed, now.disk_total) if disks else (now.memory_processed, now.memory_total)
        self._ends.tell(f"{'disks' if disks else 'memory'}: {describe(now, self._budget.limit)}", done, total)


def describe(now: Progress, limit: int) -> str:
    """A migration under way in a line: pass, rate, what the guest dirties, throttle, what is left and for how long."""
    left = now.memory_remaining + now.disk_remaining
    words = [f"{left / MIB:.0f} MiB left"]
    if now.rate:
        words += [f"{now.rate / MIB:.0f} MiB/s", f"{left / now.rate:.0f} s to go"]
    if now.iteration:
        words.append(f"pass {now.iteration}")
    if now.dirty_rate:
        words.append(f"dirties {now.dirty_rate / MIB:.0f} MiB/s")
    if now.throttle:
        words.append(f"slowed by {now.throttle} %")
    return ", ".join([*words, f"stops for at most {limit} ms"])


async def _called_off(call: asyncio.Future[None]) -> None:
    """Whoever leaves early does not leave a migration behind."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def _settled(clock: EventClock) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE):
            await clock.complete.wait()


def _measured(final: Progress, clock: EventClock, silence: Silence) -> Mapping[str, float]:
    found = {"libvirt": float(final.downtime_ms), "events": clock.milliseconds, "probe": silence.milliseconds}
    return {who: round(each, 1) for who, each in found.items() if each > UNKNOWN}


def _probe(silence: Silence) -> str:
    return f"{silence.watcher} asked {silence.address}" if silence.answers > 1 else ""


def _explained(error: HypervisorError, route: Route) -> HypervisorError:
    """libvirt only sees that a connection ended; what the route heard says why."""
    if route.complaints.last:
        error.cause = f"{error.cause}; {route.complaints.last}"
    return error


def _too_late(move: Move, seconds: float) -> NovaFleetError:
    return DeadlineError(
        f"{move.domain} was not moved within {seconds:.0f} s; it runs on where it was",
        code="NF-MIG-201",
        where=move.source,
        hints=("give it longer: --deadline", "or let it switch before all is copied: --mode postcopy"),
        retry=Retry.AFTER_FIX,
    )


def _half_lost(move: Move, reason: str) -> NovaFleetError:
    return MigrationError(
        f"QEMU of {move.source} ended before all memory of {move.domain} was on {move.destination}",
        code="NF-MIG-206",
        where=move.source,
        cause=f"it is off ({reason}); the guest waits for memory that is gone, as in a power cut",
        hints=(start_without_memory(move),),
    )


def start_without_memory(move: Move) -> str:
    """The fix where a part of the guest's memory cannot be had any more."""
    again = f"virsh destroy {move.domain}; virsh start {move.domain}"
    return f"{again}   # on {move.destination}, whose disks are the newest; then: novafleet migrate recover"


def _never(move: Move, now: Progress) -> NovaFleetError:
    return MigrationError(
        f"{move.domain} changes its memory faster than it can be copied; it runs on where it was",
        code="NF-MIG-202",
        where=move.source,
        cause=f"{now.dirty_rate / MIB:.0f} MiB/s dirtied, {now.rate / MIB:.0f} MiB/s copied, slowed by "
        f"{now.throttle} %, {now.iteration} passes",
        hints=("--mode postcopy, or --mode warm", "or allow a longer pause: --max-downtime"),
    )
