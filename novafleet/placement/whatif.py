"""What would be if a host failed, were emptied or were added. Pure; nothing is asked and nothing changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from novafleet.placement.board import Board
from novafleet.placement.evacuate import evacuate, moved, unspared
from novafleet.placement.problem import Load, Plan, PlannedMove, Problem, Proof, Site, Unmovable
from novafleet.placement.rebalance import Aim, rebalance


@dataclass(frozen=True, slots=True)
class Outlook:
    """``event``: host-down | drain | add. ``moves`` are restarts elsewhere, migrations, or what rebalancing would move
    there. ``memory``: bytes open hosts have in all and bytes left, before and after. ``unspared``: what the fleet could
    not lose then, "" when it could lose any one host."""

    event: str
    host: str
    moves: tuple[PlannedMove, ...]
    homeless: tuple[Unmovable, ...]
    proof: Proof
    before: Load
    after: Load
    memory_before: tuple[int, int]
    memory_after: tuple[int, int]
    unspared: str
    broken: tuple[str, ...] = ()
    """Guests left with one they must not be with."""


def lost(problem: Problem, host: str) -> Outlook:
    """The host fails: what runs there is started again elsewhere, as far as there is room. A guest bound to its host
    (a device, a directory) stays down. CPUs need not be the same for a start."""
    anywhere = replace(problem, rules=replace(problem.rules, live=False))
    running = tuple(guest for guest in anywhere.guests if guest.running or guest.host != host)
    return _emptied("host-down", replace(anywhere, guests=running), host)


def drained(problem: Problem, host: str) -> Outlook:
    """The host is emptied by migration."""
    return _emptied("drain", problem, host)


def _emptied(event: str, problem: Problem, host: str) -> Outlook:
    plan = evacuate(problem, [host])
    sites = tuple(replace(site, closed="is gone") if site.name == host else site for site in problem.sites)
    return _outlook(event, host, problem, moved(replace(problem, sites=sites), plan.moves), plan)


def added(problem: Problem, site: Site, aim: Aim) -> Outlook:
    """A host joins, empty, and rebalancing sends what is worth it."""
    larger = replace(problem, sites=(*problem.sites, site))
    plan = replace(rebalance(larger, aim), before=Board(problem).summary())
    return _outlook("add", site.name, problem, moved(larger, plan.moves), plan)


def _outlook(event: str, host: str, before: Problem, after: Problem, plan: Plan) -> Outlook:
    board = Board(after)
    broken = (v for v in board.constrained() if board.company(v, int(board.where[v])))
    return Outlook(
        event,
        host,
        plan.moves,
        plan.unmovable,
        plan.proof,
        plan.before,
        board.summary(),
        memory(before),
        memory(after),
        unspared(after, 1),
        tuple(after.guests[v].name for v in broken),
    )


def memory(problem: Problem) -> tuple[int, int]:
    """Bytes open hosts have for guests, and bytes of them left."""
    open_sites = {site.name: site.free for site in problem.sites if not site.closed}
    promised = sum(guest.memory for guest in problem.guests if guest.host in open_sites)
    return promised + sum(open_sites.values()), sum(max(free, 0) for free in open_sites.values())
