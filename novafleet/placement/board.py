"""A problem as arrays, and an assignment that keeps its sums while guests are moved about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novafleet.placement.problem import Guest, Load, Problem, Rules, Site

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]

CPU, MEMORY, PRESSURE = range(3)
KEPT: Final = 2
"""Columns of ``need`` from here on are pools."""
SLACK: Final = 0.5
"""Half a byte: sums of whole numbers in floats."""


class Board:
    """Where every guest is. Rows are guests (``v``) and sites (``h``) in the problem's order.

    ``need[v, r]`` and ``free[h, r]`` are memory, pinned CPUs and the pools; ``load[v, l]`` and ``busy[h, l]`` CPU,
    memory and pressure, of which a site has ``room[h, l]``; ``at_first`` is ``free`` before any move.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rules: Rules = problem.rules
        self.site = {site.name: number for number, site in enumerate(problem.sites)}
        self.guest = {guest.name: number for number, guest in enumerate(problem.guests)}
        self.where: Ints = np.array([self.site[guest.host] for guest in problem.guests], dtype=np.int32)
        self.open: Bools = np.array([not site.closed for site in problem.sites], dtype=np.bool_)
        self.zone = _numbered([site.zone or f"\0{site.name}" for site in problem.sites])
        pools = sorted({pool for guest in problem.guests for pool in guest.disks if pool})
        self.resources = ("memory", "pinned CPUs", *pools)
        self.need = _needs(problem.guests, pools)
        self.free = _free(problem.sites, pools)
        self.at_first = self.free.copy()
        self.load = _loads(problem.guests)
        self.room = self._rooms()
        self.busy = np.zeros((len(problem.sites), 3))
        np.add.at(self.busy, self.where, self.load)
        self.kind, self.reach = _reach(problem)
        self.bytes: Floats = np.array([guest.bytes for guest in problem.guests], dtype=np.float64)
        self.movable: Bools = np.array([not guest.stuck for guest in problem.guests], dtype=np.bool_)
        self._members: list[tuple[Ints, bool]] = []
        self._apart: dict[int, list[int]] = {}
        self._index_apart()
        self._forbidden = {
            self.guest[name]: [self.site[host] for host in hosts if host in self.site]
            for name, hosts in self.rules.forbidden.items()
            if name in self.guest
        }
        self.partners = self._index_together()

    def _rooms(self) -> Floats:
        promised = np.zeros(len(self.problem.sites))
        np.add.at(promised, self.where, self.need[:, 0])
        memory = np.maximum(promised + self.free[:, 0], 1.0)
        cpus = np.array([max(site.cpus, 1) for site in self.problem.sites], dtype=np.float64)
        return np.stack([cpus, memory, np.ones_like(cpus)], axis=1)

    def _index_apart(self) -> None:
        for rule in self.rules.apart:
            members = np.array([self.guest[name] for name in rule.members if name in self.guest], dtype=np.int32)
            if len(members) < 2:
                continue
            for v in members:
                self._apart.setdefault(int(v), []).append(len(self._members))
            self._members.append((members, rule.zone))

    def _index_together(self) -> Mapping[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        for group in self.rules.together:
            members = tuple(self.guest[name] for name in group if name in self.guest)
            found.update(dict.fromkeys(members, members))
        return found

    def unit(self, v: int) -> tuple[int, ...]:
        """The guest with those on its host that must stay with it."""
        return tuple(w for w in self.partners.get(v, (v,)) if self.where[w] == self.where[v])

    def needs(self, unit: Sequence[int]) -> Floats:
        """What they need together."""
        needed: Floats = self.need[list(unit)].sum(axis=0)
        return needed

    def allowed(self, unit: Sequence[int]) -> Bools:
        """Open hosts that every rule but room allows them, without the one they are on."""
        mask = self.open.copy()
        mask[self.where[unit[0]]] = False
        for v in unit:
            np.logical_and(mask, self.reach[self.kind[v]], out=mask)
            self._keep_apart(v, mask)
            mask[self._forbidden.get(v, [])] = False
        away = {int(self.where[w]) for w in self.partners.get(unit[0], ()) if w not in unit}
        for host in away:
            np.logical_and(mask, np.arange(len(mask)) == host, out=mask)
        return mask

    def _keep_apart(self, v: int, mask: Bools) -> None:
        for number in self._apart.get(v, ()):
            members, zone = self._members[number]
            taken = self.where[members[members != v]]
            if zone:
                np.logical_and(mask, ~np.isin(self.zone, self.zone[taken]), out=mask)
            else:
                mask[taken] = False

    def constrained(self) -> Sequence[int]:
        """Guests that some rule keeps apart from others, in order."""
        return sorted(self._apart)

    def company(self, v: int, host: int) -> str:
        """A guest there that this one must not be with; "" when there is none."""
        for number in self._apart.get(v, ()):
            members, zone = self._members[number]
            for w in members[members != v]:
                there = self.where[w]
                if there == host or (zone and self.zone[there] == self.zone[host]):
                    return self.problem.guests[int(w)].name
        return ""

    def plenty(self, leaving: Ints) -> bool:
        """Is there room for these even if each needed as much as the neediest, and none could go where only some can?
        Sufficient, and quick; False says nothing."""
        rules = Counter(number for v in leaving for number in self._apart.get(int(v), ()))
        bound = any(int(v) in self.partners or int(v) in self._forbidden for v in leaving)
        if bound or any(times > 1 for times in rules.values()):
            return False
        mask: Bools = self.open & self.reach[np.unique(self.kind[leaving])].all(axis=0)
        for v in leaving:
            self._keep_apart(int(v), mask)
        most = self.need[leaving].max(axis=0, initial=0.0)
        slots = np.floor((self.free[mask] + SLACK) / np.maximum(most, 1.0)).min(
            axis=1, initial=len(leaving), where=most > 0
        )
        return bool(np.maximum(slots, 0.0).sum() >= len(leaving))

    def clash(self, v: int, w: int, there: int, host: int) -> bool:
        """Would a guest on this host meet another, who is ``there``, that it must not be with?"""
        rules = (self._members[number] for number in self._apart.get(v, ()))
        return any(
            w in members and (there == host or (zone and self.zone[there] == self.zone[host]))
            for members, zone in rules
            if w != v
        )

    def fits(self, unit: Sequence[int]) -> Bools:
        """Hosts that can take them now."""
        mask = self.allowed(unit)
        return np.logical_and(mask, has_room(self.free, self.needs(unit)).all(axis=1), out=mask)

    def move(self, unit: Iterable[int], host: int) -> None:
        """Put them there, whatever the rules say. Their disks stay in the source's pools for ``migrate undo``."""
        for v in unit:
            source = self.where[v]
            self.free[source, :KEPT] += self.need[v, :KEPT]
            self.busy[source] -= self.load[v]
            self.free[host] -= self.need[v]
            self.busy[host] += self.load[v]
            self.where[v] = host

    def rank(self, unit: Sequence[int], hosts: Ints) -> Floats:
        """How bad each of these hosts is for them: the fullest resource first (in steps of half a percent), then the
        spread over hosts."""
        load = self.load[list(unit)].sum(axis=0)
        now = self.busy[hosts] / self.room[hosts]
        then = (self.busy[hosts] + load) / self.room[hosts]
        peak: Floats = np.round(then.max(axis=1) * 200.0)
        badness: Floats = peak * 100.0 + (then**2 - now**2).sum(axis=1)
        return badness

    def best(self, unit: Sequence[int], mask: Bools) -> int:
        """The best of the hosts of a mask; of equals the first."""
        hosts = np.flatnonzero(mask).astype(np.int32)
        return int(hosts[int(np.argmin(self.rank(unit, hosts)))])

    def fullness(self) -> Floats:
        """By site, its fullest resource, 0 to 1."""
        share: Floats = (self.busy / self.room).max(axis=1)
        return share

    def summary(self) -> Load:
        """How full open hosts are."""
        full = self.fullness()
        hosts = np.flatnonzero(self.open)
        if not len(hosts):
            return Load(0.0, "", 0.0)
        top = int(hosts[int(np.argmax(full[hosts]))])
        return Load(round(float(full[top]), 4), self.problem.sites[top].name, round(float(full[hosts].std()), 4))


class Trail:
    """Who has left which host in a plan: what goes on at once must not rely on a move that has not ended."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._left: list[tuple[int, int, int]] = []
        self._freed = np.zeros_like(board.free)

    def leaves(self, move: int, v: int) -> None:
        """Note this move, before the board makes it."""
        source = int(self.board.where[v])
        self._left.append((move, v, source))
        self._freed[source, :KEPT] += self.board.need[v, :KEPT]

    def before(self, unit: Sequence[int], host: int) -> tuple[int, ...]:
        """Moves that must have ended before these guests arrive: they make room, or take away who must not be met."""
        board = self.board
        short = not has_room(board.free[host] - self._freed[host], board.needs(unit)).all()
        return tuple(
            move
            for move, w, source in self._left
            if (short and source == host) or any(self._would_meet(v, w, source, host) for v in unit)
        )

    def _would_meet(self, v: int, w: int, source: int, host: int) -> bool:
        """Those who were together before the plan need not wait to be parted."""
        here = int(self.board.where[v])
        return self.board.clash(v, w, source, host) and not self.board.clash(v, w, source, here)


def has_room(free: Floats, need: Floats) -> Bools:
    """By resource; who needs none of it does not care that too much of it was promised."""
    enough: Bools = (free + SLACK >= need) | (need <= 0)
    return enough


def _needs(guests: Sequence[Guest], pools: Sequence[str]) -> Floats:
    column = {pool: KEPT + number for number, pool in enumerate(pools)}
    needs = np.zeros((len(guests), KEPT + len(pools)))
    for v, guest in enumerate(guests):
        needs[v, 0], needs[v, 1] = guest.memory, guest.pinned
        for pool, size in guest.disks.items():
            if pool:
                needs[v, column[pool]] += size
    return needs


def _free(sites: Sequence[Site], pools: Sequence[str]) -> Floats:
    rows = [[site.free, site.free_pinned, *(site.pools.get(pool, 0) for pool in pools)] for site in sites]
    return np.array(rows, dtype=np.float64).reshape(len(sites), KEPT + len(pools))


def _loads(guests: Sequence[Guest]) -> Floats:
    rows = [(guest.cpu, guest.memory, guest.pressure) for guest in guests]
    return np.array(rows, dtype=np.float64).reshape(len(guests), 3)


def _numbered(names: Sequence[str]) -> Ints:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int32)


def _reach(problem: Problem) -> tuple[Ints, Bools]:
    """Guests that ask the same of a host are of one kind: which kind each is, and where each kind can be."""
    kinds: dict[tuple[object, ...], int] = {}
    kind = np.zeros(len(problem.guests), dtype=np.int32)
    for v, guest in enumerate(problem.guests):
        kind[v] = kinds.setdefault(asks(guest, problem.rules), len(kinds))
    first: dict[int, Guest] = {}
    for v, guest in enumerate(problem.guests):
        first.setdefault(int(kind[v]), guest)
    reach = [[not lacks(guest, site, problem.rules) for site in problem.sites] for guest in first.values()]
    return kind, np.array(reach, dtype=np.bool_).reshape(len(kinds), len(problem.sites))


def asks(guest: Guest, rules: Rules) -> tuple[object, ...]:
    """What decides where a guest can be, but for room and company."""
    cpu = guest.cpu_class if rules.live and guest.running else ""
    return (guest.networks, tuple(sorted(pool for pool in guest.disks if pool)), cpu)


def lacks(guest: Guest, site: Site, rules: Rules) -> tuple[str, str] | None:
    """The first thing a host has not that a guest needs: the code NF-PLACE-NNN and words for it."""
    for network in guest.networks:
        if network not in site.networks:
            return "NF-PLACE-011", f"has no {network}"
    for pool in guest.disks:
        if pool and pool not in site.pools:
            return "NF-PLACE-012", f"has no pool {pool}"
    if rules.live and guest.running and guest.cpu_class and guest.cpu_class != site.cpu_class:
        return "NF-PLACE-014", f"has another CPU ({site.cpu_class or 'unknown'})"
    return None
