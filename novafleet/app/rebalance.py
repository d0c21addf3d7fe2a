"""``rebalance``: few moves off the fullest hosts, each worth it; who moved lately rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from novafleet.app import convoy
from novafleet.app.convoy import MOVED, Travel, Travelled, Watch, Wish
from novafleet.app.drain import Confirm
from novafleet.app.fleetview import FleetView, see
from novafleet.app.runs import MOVING
from novafleet.app.terms import Governing, governing
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.errors import ExitCode, NovaFleetError
from novafleet.execute.lock import environment_lock
from novafleet.inventory import select
from novafleet.model.policies import Balance
from novafleet.model.run import Run
from novafleet.placement.evacuate import moved, unspared
from novafleet.placement.problem import Plan, Problem, Proof
from novafleet.placement.rebalance import Aim
from novafleet.placement.rebalance import rebalance as search
from novafleet.playbook.moves import policies_of
from novafleet.store.journal import Journal, new_run_id

VERB = "rebalance"
REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Order:
    """Among the hosts of ``limit``. ``moves`` at most (0: the policies')."""

    inventory: tuple[str, ...]
    limit: str = ""
    moves: int = 0
    wish: Wish = field(default_factory=Wish)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What would move. ``resting``: guests that moved within their cooldown; ``unseen``: hosts that could not be
    asked."""

    order: Order
    plan: Plan
    governing: Governing
    resting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unseen: Mapping[str, NovaFleetError] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """0 all hosts were asked, 3 some."""
        return ExitCode.PARTIAL if self.unseen else ExitCode.OK


@dataclass(frozen=True, slots=True)
class Balanced:
    """What became of it."""

    weighed: Weighed
    travelled: Travelled | None = None
    declined: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """As of a run of moves; when nothing was worth it, or all are done, 3 if hosts could not be asked."""
        if self.declined:
            return ExitCode.FAILED
        if self.travelled is None or self.travelled.exit_code is ExitCode.OK:
            return self.weighed.exit_code
        return self.travelled.exit_code


async def weigh(order: Order) -> Weighed:
    """``--plan``: look, and change nothing. Raises the error of a host when none could be asked."""
    async with open_world(_paths(order)) as world, open_journal(world.places) as journal:
        return await _weigh(world, journal, order)


async def rebalance(order: Order, watch: Watch, confirm: Confirm, continued: Run | None = None) -> Balanced:
    """Move what is worth it. Raises LockHeldError NF-LOCK-001 while another rebalancing goes on."""
    async with open_world(_paths(order)) as world, open_journal(world.places) as journal:
        run_id = continued.id if continued else new_run_id(world.clock.now())
        async with environment_lock(world.places.locks, VERB, run_id, world.clock, wait=order.wish.lock_wait):
            found = await _weigh(world, journal, order)
            if not found.plan.moves and continued is None:
                return Balanced(found)
            if not confirm([f"moves: {move.guest} -> {move.destination}" for move in found.plan.moves]):
                return Balanced(found, declined=True)
            if continued is None:
                await convoy.begin(journal, world, run_id, VERB, order, found.plan)
            else:
                await journal.reopen(run_id, convoy.holder())
            travel = Travel(world, journal, _paths(order), run_id, found.governing, order.wish)
            travelled = await travel.go(found.plan, watch)
            await convoy.finish(journal, world, travelled)
            return Balanced(found, travelled)


def order_of(run: Run) -> Order:
    """What a run was begun with."""
    return convoy.ordered(Order, run)


def _paths(order: Order) -> tuple[Path, ...]:
    return tuple(Path(each) for each in order.inventory)


async def _weigh(world: World, journal: Journal, order: Order) -> Weighed:
    hosts = select(world.fleet, "all", order.limit)
    balance = next((found.balance for host in hosts if (found := policies_of(host)) is not None), Balance())
    view = await see(world, hosts, balance.window)
    if view.unseen and not view.pictures:
        raise next(iter(view.unseen.values()))
    rules = await governing(world, journal, view.guests)
    problem = rules.problem([each.site for each in view.pictures.values()], view.guests, order.wish.modes)
    resting = await _resting(journal, view, world.clock.now() - balance.cooldown)
    aim = Aim(balance.tolerance, balance.gain, order.moves or balance.moves)
    plan = _spared(problem, search(problem, aim, resting), rules.rules.spare)
    return Weighed(order, plan, rules, tuple(resting), rules.notes, view.unseen)


def _spared(problem: Problem, plan: Plan, spare: int) -> Plan:
    """Without the last moves, as far as they cost the fleet a spare it has now."""
    if not spare or unspared(problem, spare):
        return plan
    moves = plan.moves
    while moves and unspared(moved(problem, moves), spare):
        moves = moves[:-1]
    if len(moves) == len(plan.moves):
        return plan
    return replace(plan, moves=moves, proof=Proof("feasible", f"{len(moves)} moves; more would cost the spare host"))


async def _resting(journal: Journal, view: FleetView, since: float) -> Sequence[str]:
    """Guests that arrived where they are after ``since``, as this controller's journal knows."""
    uuids: set[str] = set()
    domains: set[str] = set()
    for run in await journal.runs(limit=REMEMBERED):
        if run.verb not in MOVING or max(run.started, run.ended or since) < since:
            continue
        for record in await journal.records(run.id):
            _, domain, verb = f"//{record.node}".rsplit("/", 2)
            if record.kind == "done" and record.at >= since and verb in (MOVED, "commit"):
                domains |= {domain} if verb == "commit" else set()
                uuids.add(str(record.payload.get("uuid", "")))
    return [guest.name for guest in view.guests if guest.uuid in uuids or guest.domain in domains]
