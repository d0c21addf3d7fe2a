"""``host drain`` and ``host undrain``: what can leave and what cannot is said first; then the moves, resumable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from novafleet.app import convoy
from novafleet.app.convoy import Looked, Travel, Travelled, Watch, Wish, minute_of
from novafleet.app.fleetview import FleetView, see
from novafleet.app.maintenance import host_of, set_maintenance
from novafleet.app.recover import settle_host
from novafleet.app.terms import Governing, governing
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.capability.migration.closed import CLOSED
from novafleet.capability.migration.recover import Action
from novafleet.errors import ConfigError, ExitCode, MigrationError, NovaFleetError
from novafleet.execute.lock import environment_lock
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Severity
from novafleet.model.run import Run
from novafleet.placement import exact
from novafleet.placement.evacuate import evacuate, moved, place, unspared
from novafleet.placement.problem import Obstacle, Plan, PlannedMove, Problem
from novafleet.source.suggest import did_you_mean
from novafleet.store.journal import Journal, new_run_id

Confirm = Callable[[Sequence[str]], bool]
DRAIN, UNDRAIN = "host drain", "host undrain"
REMEMBERED = 1000
LOOKS = 4
"""Guests whose move is looked at together."""
TRIES = 8
"""Hosts that are looked at for one guest, before it stays."""
SETTLING, POLL = 900.0, 2.0
"""Seconds a migration that goes on without us is waited for, and between two looks at it."""
MEMORY = "NF-MIG-315"
ELSEWHERE, NOT_HOME = "is not asked for (--to)", "is not its home"


@dataclass(frozen=True, slots=True)
class Order:
    """``host`` is emptied (or its guests brought home), to the hosts of ``to`` (a host or group; "": any).
    ``without_spare``: even if the policies' spare hosts are needed for it. ``look``: each move is looked at first."""

    inventory: tuple[str, ...]
    host: str
    to: str = ""
    wish: Wish = field(default_factory=Wish)
    without_spare: bool = False
    look: bool = True


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a drain would do. ``unspared``: what the fleet could not lose afterwards; ``closed_now``: guests whose
    window is closed; ``stacks`` stay where they are; ``notes`` and ``unseen``: what the plan does not know;
    ``looked``: what it rests on; ``maintained``: the host is in maintenance as it is."""

    order: Order
    verb: str
    plan: Plan
    governing: Governing
    stacks: tuple[str, ...] = ()
    unspared: str = ""
    closed_now: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unseen: Mapping[str, NovaFleetError] = field(default_factory=dict)
    looked: Looked = field(default_factory=Looked)
    maintained: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 everything can go, 3 something stays."""
        return ExitCode.PARTIAL if self.plan.unmovable else ExitCode.OK


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of it: ``travelled`` is None when nobody agreed, or nothing had to move."""

    drafted: Drafted
    travelled: Travelled | None = None
    declined: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 the host is empty, 3 something stays, 1 nothing moved, 130 interrupted."""
        if self.declined:
            return ExitCode.FAILED
        if self.travelled is None or self.travelled.exit_code is ExitCode.OK:
            return self.drafted.exit_code
        return self.travelled.exit_code


async def plan(order: Order, *, home: bool = False) -> Drafted:
    """``--plan``: look, and change nothing. Raises ConfigError NF-MIG-301, NF-MIG-601."""
    async with open_world(_paths(order)) as world, open_journal(world.places) as journal:
        return await _draft(world, journal, order, home=home)


async def drain(order: Order, watch: Watch, confirm: Confirm, continued: Run | None = None) -> Drained:
    """Put the host into maintenance and move what can leave it. Raises what ``plan`` raises, MigrationError
    NF-PLACE-017 when no spare would be left, LockHeldError NF-LOCK-001 while another drain of the host goes on."""
    async with _alone(order, continued) as (world, journal, run_id):
        await _settle(world, order.host)
        drafted = await _draft(world, journal, order, home=False)
        if drafted.unspared and not order.without_spare:
            hint = "add hosts (novafleet whatif add HOST --like HOST2), or drain all the same: --without-spare"
            raise MigrationError(drafted.unspared, code="NF-PLACE-017", where=order.host, hints=(hint,))
        if not confirm(said(drafted)):
            return Drained(drafted, declined=True)
        if not drafted.maintained:  # else a note with a reason is there
            await set_maintenance(world, world.fleet.hosts[order.host], on=True, reason="drain")
        return await _carried_out(world, journal, drafted, run_id, watch, continued)


async def undrain(order: Order, watch: Watch, confirm: Confirm, continued: Run | None = None) -> Drained:
    """End the host's maintenance and bring home the guests that drains moved away and that have not moved since.
    Raises as ``drain`` does."""
    async with _alone(order, continued) as (world, journal, run_id):
        await _settle(world, order.host)
        drafted = await _draft(world, journal, order, home=True, resumed=continued is not None)
        if not confirm(said(drafted)):
            return Drained(drafted, declined=True)
        await set_maintenance(world, world.fleet.hosts[order.host], on=False)
        return await _carried_out(world, journal, drafted, run_id, watch, continued)


async def _settle(world: World, host: str) -> None:
    """End what earlier migrations from or to this host left behind; one that still goes on by itself is waited for."""
    deadline = world.clock.monotonic() + SETTLING
    while True:
        rows = await settle_host(world, host)
        if not any(row.decision.action is Action.WAIT for row in rows) or world.clock.monotonic() > deadline:
            return
        await world.clock.sleep(POLL)


def order_of(run: Run) -> Order:
    """What a run was begun with, to go on with it."""
    return convoy.ordered(Order, run)


@asynccontextmanager
async def _alone(order: Order, continued: Run | None) -> AsyncIterator[tuple[World, Journal, str]]:
    async with open_world(_paths(order)) as world, open_journal(world.places) as journal:
        host_of(world, order.host)
        run_id = continued.id if continued else new_run_id(world.clock.now())
        async with environment_lock(
            world.places.locks, f"host {order.host}", run_id, world.clock, wait=order.wish.lock_wait
        ):
            yield world, journal, run_id


def _paths(order: Order) -> tuple[Path, ...]:
    return tuple(Path(each) for each in order.inventory)


async def _carried_out(
    world: World, journal: Journal, drafted: Drafted, run_id: str, watch: Watch, continued: Run | None
) -> Drained:
    if not drafted.plan.moves and continued is None:
        return Drained(drafted)
    if continued is None:
        await convoy.begin(journal, world, run_id, drafted.verb, drafted.order, drafted.plan)
    else:
        await journal.reopen(run_id, convoy.holder())
    order = drafted.order
    travel = Travel(world, journal, _paths(order), run_id, drafted.governing, order.wish, drafted.looked)
    travelled = await travel.go(drafted.plan, watch)
    await convoy.finish(journal, world, travelled, [each.guest for each in drafted.plan.unmovable])
    return Drained(drafted, travelled)


async def _draft(world: World, journal: Journal, order: Order, *, home: bool, resumed: bool = False) -> Drafted:
    host_of(world, order.host)
    view = await see(world, list(world.fleet.hosts.values()))
    if order.host in view.unseen:
        raise view.unseen[order.host]
    rules = await governing(world, journal, view.guests)
    names = await _away(journal, order.host, view) if home else ()
    if home and not names and not resumed:
        raise _none_away(order.host)
    looked = Looked(world.clock.monotonic())
    travel = Travel(world, journal, _paths(order), "", rules, order.wish, looked)
    problem = rules.problem(_sites(world, order, view, home=home), view.guests, order.wish.modes)
    found = await _looked_at(travel, problem, order, view.facts, names if home else None)
    minute = minute_of(world.clock.now())
    closed = tuple(move.guest for move in found.moves if not rules.terms[move.guest].open(minute))
    after = (
        replace(moved(problem, found.moves), sites=problem.sites)
        if home
        else moved(_without(problem, order.host), found.moves)
    )
    stacks = view.pictures[order.host].stacks if order.host in view.pictures and not home else ()
    return Drafted(
        order,
        UNDRAIN if home else DRAIN,
        found,
        rules,
        stacks,
        "" if home else unspared(after, rules.rules.spare),
        () if order.wish.anytime else closed,
        rules.notes,
        view.unseen,
        looked,
        bool(order.host in view.pictures and view.pictures[order.host].site.closed),
    )


def _without(problem: Problem, host: str) -> Problem:
    sites = (replace(site, closed="is being emptied") if site.name == host else site for site in problem.sites)
    return replace(problem, sites=tuple(sites))


def _sites(world: World, order: Order, view: FleetView, *, home: bool) -> list[Any]:
    """Those hosts open that may take guests in."""
    open_to = {order.host} if home else set(destinations(world, order.to))
    found = []
    for name, each in view.pictures.items():
        closed = each.site.closed if not (home and name == order.host) else ""
        found.append(replace(each.site, closed=closed or ("" if name in open_to else NOT_HOME if home else ELSEWHERE)))
    return found


def destinations(world: World, to: str) -> Sequence[str]:
    """Hosts that ``--to`` means; all without it. Raises ConfigError NF-MIG-301."""
    hosts, groups = world.fleet.hosts, world.fleet.groups
    if not to:
        return tuple(hosts)
    if to in hosts:
        return (to,)
    if to not in groups:
        hints = did_you_mean(to, [*hosts, *groups], "hosts and groups")
        raise ConfigError(f"there is no host or group {to!r} in the inventory", code="NF-MIG-301", hints=hints)
    return groups[to].hosts


async def _looked_at(
    travel: Travel, problem: Problem, order: Order, facts: Mapping[str, HostFacts], names: Sequence[str] | None
) -> Plan:
    """The plan whose moves were looked at one by one; a guest that cannot go where it should gets another host."""
    forbidden: dict[str, dict[str, Obstacle]] = {}
    found = _planned(problem, order, names)
    while order.look and (obstacles := await _obstacles(travel, found.moves, facts)):
        for move, obstacle in obstacles:
            _forbid(forbidden.setdefault(move.guest, {}), move.destination, obstacle, problem)
        found = _planned(_knowing(problem, forbidden), order, names)
    return found


def _forbid(known: dict[str, Obstacle], host: str, obstacle: Obstacle, problem: Problem) -> None:
    """Not there; after ``TRIES`` hosts not anywhere."""
    known[host] = obstacle
    if len(known) >= TRIES:
        rest = replace(obstacle, why=f"was not looked at: {len(known)} others cannot take it")
        known.update({site.name: rest for site in problem.sites if site.name not in known})


def _knowing(problem: Problem, forbidden: Mapping[str, Mapping[str, Obstacle]]) -> Problem:
    return replace(problem, rules=replace(problem.rules, forbidden=forbidden))


def _planned(problem: Problem, order: Order, names: Sequence[str] | None) -> Plan:
    solver = exact.solve if exact.available() else None
    if names is not None:
        return place(problem, names, "home", solver)
    return evacuate(problem, [order.host], solver)


async def _obstacles(
    travel: Travel, moves: Sequence[PlannedMove], facts: Mapping[str, HostFacts]
) -> list[tuple[PlannedMove, Obstacle]]:
    slots = asyncio.Semaphore(LOOKS)
    new = [move for move in moves if (move.guest, move.destination) not in travel.looked.dossiers]

    async def one(move: PlannedMove) -> Obstacle | None:
        async with slots:
            try:
                dossier = await travel.dossier(move, facts)
            except NovaFleetError as error:
                return Obstacle(error.code, str(error), next(iter(error.hints), ""))
        travel.looked.dossiers[move.guest, move.destination] = dossier
        later = {CLOSED, *([MEMORY] if move.after else [])}  # an undrain opens its host, others leave it, before that
        if dossier.move.ladder or (dossier.blockers and {each.code for each in dossier.blockers} <= later):
            return None
        found = [each for each in dossier.findings if each.severity is Severity.BLOCKER]
        first = next((each for each in found if not each.modes), found[0])
        return Obstacle(first.code, first.what, first.fix)

    found = await asyncio.gather(*(one(move) for move in new))
    return [(move, obstacle) for move, obstacle in zip(new, found, strict=True) if obstacle is not None]


async def _away(journal: Journal, host: str, view: FleetView) -> tuple[str, ...]:
    """Guests that drains moved from this host, and that still are where they were moved to."""
    left: dict[str, str] = {}
    for run in reversed(await journal.runs(limit=REMEMBERED)):
        if run.verb not in (DRAIN, UNDRAIN) or run.request.get("host") != host:
            continue
        for record in await journal.records(run.id):
            move = record.payload.get("move") or {}
            if move.get("source") == host:
                left[str(move["uuid"])] = str(move["destination"])
    return tuple(guest.name for guest in view.guests if left.get(guest.uuid) == guest.host)


def _none_away(host: str) -> ConfigError:
    ending = f"novafleet host maintenance off {host}   # takes it into service"
    hints = (ending, "novafleet job ls --all   # what was drained from here")
    return ConfigError(f"no guest of {host} is away", code="NF-MIG-601", where=host, hints=hints)


def said(drafted: Drafted) -> Sequence[str]:
    """What a person agrees to."""
    plan = drafted.plan
    lines = [f"stays: {each.guest}: {each.why} [{each.code}]" for each in plan.unmovable]
    lines += [f"stays: the stack {name}" for name in drafted.stacks]
    for move in plan.moves:
        why = "" if move.why == "drain" else f" ({move.why})"
        lines.append(f"moves: {move.guest} -> {move.destination}{why}")
    lines += [f"waits for its window: {name}" for name in drafted.closed_now]
    return (*lines, *drafted.notes, f"{plan.proof.verdict}: {plan.proof.text}")
