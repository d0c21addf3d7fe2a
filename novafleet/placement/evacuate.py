"""Plans that empty hosts or bring guests home: where each guest can go, and who cannot go anywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from novafleet.placement.board import KEPT, SLACK, Board, Trail, has_room, lacks
from novafleet.placement.problem import Load, Plan, PlannedMove, Problem, Proof, Site, Unmovable

EJECTIONS = 8
"""Hosts on which room is made, at most, for one guest."""
DEVICE, ROOM, COMPANY, CLOSED = "NF-PLACE-010", "NF-PLACE-013", "NF-PLACE-015", "NF-PLACE-016"
FIXES = {
    DEVICE: "shut it down and move it by hand, or let it stay: the rest can go",
    "NF-PLACE-011": "define the network there: add the host to its `hosts` and run novafleet up, or --network A=B",
    "NF-PLACE-012": "make the pool there, or move it on its own: novafleet migrate VM --pool NAME",
    ROOM: "stop something there, or drain to more hosts",
    "NF-PLACE-014": "allow other modes: novafleet host drain HOST --mode auto",
    COMPANY: "relax the rule, or move the other one first",
    "NF-PLACE-018": "novafleet migrate VM --to HOST moves it all the same",
    CLOSED: "novafleet host maintenance off HOST, or name another group: --to GROUP",
}
Exact = Callable[[Board, Sequence[Sequence[int]]], Mapping[int, int] | bool | None]
"""Assigns every unit (by its first guest) a host, None when it did not finish, False when none exists."""


def evacuate(problem: Problem, hosts: Collection[str], exact: Exact | None = None) -> Plan:
    """Empty ``hosts``: the guests of highest priority first, of these the largest. Deterministic.

    ``exact`` (see ``exact.py``) is asked when the search leaves guests that lack only room.
    """
    closed = dict.fromkeys(hosts, "is being emptied")
    sites = tuple(replace(site, closed=closed.get(site.name, site.closed)) for site in problem.sites)
    fleet = replace(problem, sites=sites)
    leaving = [guest.name for guest in problem.guests if guest.host in closed]
    return place(fleet, leaving, why="drain", exact=exact)


def place(problem: Problem, names: Sequence[str], why: str, exact: Exact | None = None) -> Plan:
    """Find an open host other than its own for each of these guests."""
    board = Board(problem)
    before = board.summary()
    search = _Search(board, why)
    units = _units(board, names)
    search.all(units)
    if search.waiting:
        filled = _Search(Board(problem), why, fill=True)
        filled.all(units)
        search = min(search, filled, key=lambda each: len(each.waiting))
    if exact is not None and search.waiting:
        search = _solved(problem, units, why, exact, search)
    return _plan(search, before)


def _units(board: Board, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Those to place, with who must stay with them: the most important first, then the largest."""
    guests = board.problem.guests
    found: dict[int, tuple[int, ...]] = {}
    for name in names:
        unit = board.unit(board.guest[name])
        found.setdefault(unit[0], unit)
    size = {first: float(board.needs(unit)[0]) for first, unit in found.items()}

    def urgency(unit: tuple[int, ...]) -> tuple[float, float, str]:
        return (-max(guests[v].priority for v in unit), -size[unit[0]], guests[unit[0]].name)

    return sorted(found.values(), key=urgency)


@dataclass(slots=True)
class _Search:
    """Moves so far; ``fill`` one host after the other rather than spread the load. ``waiting`` are units for which no
    place was found, ``stuck`` those nobody could take, wherever the others go."""

    board: Board
    why: str
    fill: bool = False
    moves: list[PlannedMove] = field(default_factory=list)
    waiting: list[tuple[int, ...]] = field(default_factory=list)
    stuck: list[tuple[int, ...]] = field(default_factory=list)
    moved: set[int] = field(default_factory=set)
    trail: Trail = field(init=False)
    exhausted: bool = False
    """An exact search has shown that those who leave cannot all be placed unless others move."""

    def __post_init__(self) -> None:
        self.trail = Trail(self.board)

    def all(self, units: Sequence[tuple[int, ...]]) -> None:
        board = self.board
        at_first = {unit: board.allowed(unit).any() for unit in units if board.movable[list(unit)].all()}
        for unit in units:
            if unit not in at_first:
                self.stuck.append(unit)
            elif not self.one(unit) and not self.make_room(unit):
                possible = at_first[unit] or board.allowed(unit).any()
                (self.waiting if possible else self.stuck).append(unit)

    def one(self, unit: tuple[int, ...]) -> bool:
        mask = self.board.fits(unit)
        if not mask.any():
            return False
        self.go(unit, int(np.argmax(mask)) if self.fill else self.board.best(unit, mask), self.why)
        return True

    def go(self, unit: tuple[int, ...], host: int, why: str) -> None:
        guests, sites = self.board.problem.guests, self.board.problem.sites
        after = self.trail.before(unit, host)
        for v in unit:
            source = sites[self.board.where[v]].name
            guest = guests[v]
            self.moves.append(
                PlannedMove(guest.name, source, sites[host].name, guest.bytes, guest.priority, after, why)
            )
            self.trail.leaves(len(self.moves) - 1, v)
            self.moved.add(v)
        self.board.move(unit, host)

    def make_room(self, unit: tuple[int, ...]) -> bool:
        """Send one guest of another host elsewhere, the one with the fewest bytes, so that the unit fits there."""
        need = self.board.needs(unit)
        short = np.where(need > 0, np.maximum(need - self.board.free, 0.0), 0.0)
        hosts = np.flatnonzero(self.board.allowed(unit))
        order = sorted(hosts, key=lambda h: (float((short[h] / (need + 1.0)).sum()), int(h)))[:EJECTIONS]
        found = min((each for host in order for each in self._ejections(int(host), short[host])), default=None)
        if found is None:
            return False
        _, v, host = found
        home = int(self.board.where[v])
        self.go((v,), host, "room")
        self.go(unit, home, self.why)
        return True

    def _ejections(
        self, host: int, short: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    ) -> Iterator[tuple[float, int, int]]:
        board = self.board
        if (short[KEPT:] > SLACK).any():
            return  # whoever leaves keeps his disks there for a day
        there = np.flatnonzero((board.where == host) & board.movable & (board.need + SLACK >= short).all(axis=1))
        for v in sorted((int(v) for v in there), key=lambda v: (float(board.bytes[v]), v)):
            if v in self.moved or v in board.partners:
                continue
            mask = board.fits((v,))
            if mask.any():
                yield float(board.bytes[v]), v, board.best((v,), mask)
                return


def _solved(problem: Problem, units: Sequence[tuple[int, ...]], why: str, exact: Exact, found: _Search) -> _Search:
    """The same with hosts from an exact solver, where that knows more than the search ``found``."""
    board = Board(problem)
    search = _Search(board, why, stuck=found.stuck)
    rest = [unit for unit in units if unit not in found.stuck]
    hosts = exact(board, rest)
    if not isinstance(hosts, Mapping):
        found.exhausted = hosts is False
        return found
    for unit in rest:
        search.go(unit, hosts[unit[0]], why)
    return search


def _plan(search: _Search, before: Load) -> Plan:
    board = search.board
    units = [*search.stuck, *search.waiting]
    unmovable = tuple(reasons(board, v) for unit in units for v in unit)
    return Plan(tuple(search.moves), unmovable, proof_of(search), before, board.summary())


def proof_of(search: _Search) -> Proof:
    """What the search has shown."""
    board = search.board
    if search.stuck:
        names = ", ".join(board.problem.guests[unit[0]].name for unit in search.stuck[:5])
        return Proof("impossible", f"as things are no host can take {names}")
    if not search.waiting:
        return Proof("feasible", f"{len(search.moves)} moves, each fits when it begins")
    bound = _bound(board, search)
    if bound:
        return Proof("impossible", bound)
    if search.exhausted:
        return Proof("impossible", f"{len(search.waiting)} guests fit nowhere unless others move (searched exactly)")
    return Proof(
        "not-found", f"no place was found for {len(search.waiting)} guests; novafleet[planner] searches exactly"
    )


def _bound(board: Board, search: _Search) -> str:
    """More is asked of a resource than all open hosts have: neither splitting guests nor moving others would help."""
    gone = [board.guest[move.guest] for move in search.moves if move.why != "room"]
    free = np.maximum(board.at_first[board.open], 0.0).sum(axis=0) - board.needs(gone)
    need = np.array([board.needs(unit) for unit in search.waiting]).sum(axis=0)
    for resource, wanted, there in zip(board.resources, need, free, strict=True):
        if wanted > there + SLACK:
            left = _amount(resource, there)
            return f"{len(search.waiting)} guests need {_amount(resource, wanted)} more, {left} is left"
    return ""


def reasons(board: Board, v: int) -> Unmovable:
    """Why a guest stays: of itself, or host by host; the code is the one that most hosts have in common."""
    guest = board.problem.guests[v]
    if guest.stuck:
        return Unmovable(guest.name, guest.stuck_code, guest.stuck, FIXES[guest.stuck_code])
    bound = next((board.problem.guests[w] for w in board.unit(v) if not board.movable[w]), None)
    if bound is not None:
        why = f"must stay with {bound.name}, which stays: {bound.stuck}"
        return Unmovable(guest.name, COMPANY, why, FIXES[COMPANY])
    found = {site.name: _obstacle(board, v, h) for h, site in enumerate(board.problem.sites) if h != board.where[v]}
    codes = [code for code, _ in found.values() if code != CLOSED] or [CLOSED]
    code = max(dict.fromkeys(codes), key=codes.count)
    known = next((each for each in board.rules.forbidden.get(guest.name, {}).values() if each.code == code), None)
    hosts = {name: text for name, (_, text) in found.items()}
    some = "; ".join(f"{name} {text}" for name, text in list(hosts.items())[:3])
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return Unmovable(
        guest.name, code, f"{some}{more}" or "there is no other host", known.fix if known else FIXES[code], hosts
    )


def _obstacle(board: Board, v: int, h: int) -> tuple[str, str]:
    guest, site = board.problem.guests[v], board.problem.sites[h]
    if site.closed:
        return CLOSED, site.closed
    known = board.rules.forbidden.get(guest.name, {}).get(site.name)
    if known is not None:
        return known.code, known.why
    lack = lacks(guest, site, board.rules)
    if lack is not None:
        return lack
    company = board.company(v, h)
    if company:
        return COMPANY, f"has {company}, which it must not be with"
    unit = board.unit(v)
    if not board.allowed(unit)[h]:
        return COMPANY, "cannot take those that must stay with it"
    return ROOM, _shortage(board, unit, h) or "has room only without the others"


def _shortage(board: Board, unit: Sequence[int], h: int) -> str:
    need = board.needs(unit)
    for resource, wanted, there in zip(board.resources, need, board.free[h], strict=True):
        if wanted and wanted > there + SLACK:
            return f"lacks {_amount(resource, wanted - there)} of {resource}"
    return ""


def _amount(resource: str, amount: float) -> str:
    return f"{amount:.0f}" if resource == "pinned CPUs" else f"{-(-int(amount) // 2**20)} MiB"


def replay(problem: Problem, moves: Sequence[PlannedMove]) -> Sequence[str]:
    """What is wrong with a plan, move by move (nothing, for every plan made here): the check of the search."""
    board, wrong = Board(problem), []
    for number, move in enumerate(moves):
        v, host = board.guest[move.guest], board.site[move.destination]
        if problem.sites[board.where[v]].name != move.source:
            wrong.append(f"{number}: {move.guest} is not on {move.source}")
        if any(each >= number for each in move.after):
            wrong.append(f"{number}: waits for a later move")
        alone = v not in board.partners
        if not (board.fits((v,))[host] if alone else _room_for(board, v, host)):
            wrong.append(f"{number}: {move.guest} does not fit on {move.destination}")
        board.move((v,), host)
    return wrong


def _room_for(board: Board, v: int, host: int) -> bool:
    """One of several that must stay together goes first: only its own needs are looked at."""
    return bool(board.reach[board.kind[v], host] and has_room(board.free[host], board.need[v]).all())


def moved(problem: Problem, moves: Sequence[PlannedMove]) -> Problem:
    """The fleet after these moves."""
    there = {move.guest: move.destination for move in moves}
    board = Board(problem)
    for name, host in there.items():
        board.move((board.guest[name],), board.site[host])
    guests = tuple(replace(guest, host=there.get(guest.name, guest.host)) for guest in problem.guests)
    sites = tuple(_left(site, board, h) for h, site in enumerate(problem.sites))
    return replace(problem, sites=sites, guests=guests)


def _left(site: Site, board: Board, h: int) -> Site:
    memory, pinned, *pools = (int(each) for each in board.free[h])
    free = dict(zip(board.resources[KEPT:], pools, strict=True))
    return replace(
        site, free=memory, free_pinned=pinned, pools={name: free.get(name, size) for name, size in site.pools.items()}
    )


def unspared(problem: Problem, spare: int) -> str:
    """Why the fleet could not lose any ``spare`` open hosts: each is tried with the fullest others (by promised
    memory); "" when it could."""
    if not spare:
        return ""
    board = Board(problem)
    promised = np.zeros(len(problem.sites))
    np.add.at(promised, board.where, board.need[:, 0])
    order = sorted((int(h) for h in np.flatnonzero(board.open)), key=lambda h: (-promised[h], h))
    for first in order:
        lost = [first, *(h for h in order if h != first)][:spare]
        homeless = _homeless(board, lost)
        if homeless:
            names = ", ".join(problem.sites[h].name for h in lost)
            return f"without {names} there would be no room for {len(homeless)} guests: {homeless[0]}, …"
    return ""


def _homeless(board: Board, lost: Sequence[int]) -> Sequence[str]:
    """Guests of these hosts that would lack only room elsewhere; the board is as before."""
    before = board.where.copy(), board.free.copy(), board.busy.copy(), board.open.copy()
    board.open[list(lost)] = False
    guests = board.problem.guests
    leaving = np.flatnonzero(np.isin(board.where, lost) & board.movable).astype(np.int32)
    search = _Search(board, "drain")
    if not board.plenty(leaving):
        search.all(_units(board, [guests[v].name for v in leaving]))
    homeless = [guests[v].name for unit in search.waiting if board.allowed(unit).any() for v in unit]
    board.where, board.free, board.busy, board.open = before
    return homeless
