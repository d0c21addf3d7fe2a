"""Few moves that take load off the fullest hosts: local search over single moves, scored all at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from novafleet.placement.board import Board, Bools, Floats, Ints, Trail, has_room
from novafleet.placement.problem import Plan, PlannedMove, Problem, Proof

NEAR = 64
"""The emptiest hosts, looked at before all others."""
CLOSE = 0.9
"""Of moves that gain at least this share of the best, the one with the fewest bytes is taken."""


@dataclass(frozen=True, slots=True)
class Aim:
    """When moving is worth it. Shares of a host: only hosts ``tolerance`` fuller than the mean give guests away, and
    each move takes at least ``gain`` off its source's fullest resource; at most ``moves`` of them."""

    tolerance: float = 0.10
    gain: float = 0.01
    moves: int = 8


def rebalance(problem: Problem, aim: Aim, resting: Collection[str] = ()) -> Plan:
    """The best moves one after the other; ``resting`` guests moved lately and stay. Deterministic.

    Broken rules come first: a guest with one it must not be with is moved whatever it gains. Never makes its
    destination as full as the source was, so no two plans in a row fight each other.
    """
    board = Board(problem)
    before = board.summary()
    free = board.movable.copy()
    free[[board.guest[name] for name in resting if name in board.guest]] = False
    free[list(board.partners)] = False
    search = _Balance(board, aim, free)
    search.mend()
    search.level()
    moves = tuple(search.moves)
    text = f"{len(moves)} moves, each fits when it begins" if moves else "no move is worth it"
    return Plan(moves, (), Proof("feasible", text), before, board.summary())


class _Balance:
    """The search under way; ``free`` are guests it may move, each once."""

    def __init__(self, board: Board, aim: Aim, free: Bools) -> None:
        self.board = board
        self.aim = aim
        self.free = free
        self.moves: list[PlannedMove] = []
        self._tired: set[int] = set()
        self._trail = Trail(board)

    def mend(self) -> None:
        """Part those that must not be together."""
        for v in self.board.constrained():
            if len(self.moves) >= self.aim.moves:
                return
            if not self.free[v] or not self.board.company(v, int(self.board.where[v])):
                continue
            mask = self.board.fits((v,))
            if mask.any():
                self._go(v, self.board.best((v,), mask))

    def level(self) -> None:
        """Take load off the fullest host until no move is worth it."""
        while len(self.moves) < self.aim.moves and (source := self._fullest()) is not None:
            found = self._best_of(source)
            if found is None:
                self._tired.add(source)
            else:
                self._go(*found)

    def _fullest(self) -> int | None:
        """The host to take load off: full beyond measure, and not yet given up."""
        full, opened = self.board.fullness(), self.board.open
        limit = (float(full[opened].mean()) if opened.any() else 0.0) + self.aim.tolerance
        full[list(self._tired)] = full[~opened] = -1.0
        source = int(np.argmax(full))
        return source if full[source] > limit else None

    def _best_of(self, source: int) -> tuple[int, int] | None:
        """The move with the highest gain from this host, to one of the emptiest if any will do."""
        guests = np.flatnonzero((self.board.where == source) & self.free).astype(np.int32)
        hosts = np.argsort(self.board.fullness(), kind="stable").astype(np.int32)
        for some in (hosts[:NEAR], hosts[NEAR:]):
            found = self._best_among(guests, some) if len(guests) and len(some) else None
            if found is not None:
                return found
        return None

    def _best_among(self, guests: Ints, hosts: Ints) -> tuple[int, int] | None:
        gains = self._gains(guests, hosts)
        while (top := float(gains.max())) >= self.aim.gain:
            close = np.argwhere(gains >= top * CLOSE).tolist()
            for row, column in sorted(close, key=lambda pair: self._price(guests, gains, pair)):
                v, host = int(guests[row]), int(hosts[column])
                if self.board.allowed((v,))[host]:
                    return v, host
                gains[row, column] = -1.0
        return None

    def _price(self, guests: Ints, gains: Floats, pair: Sequence[int]) -> tuple[float, float, int, int]:
        row, column = pair
        return (float(self.board.bytes[guests[row]]), -float(gains[row, column]), int(guests[row]), column)

    def _gains(self, guests: Ints, hosts: Ints) -> Floats:
        """``[guest, host]``: how much less full the fuller of both ends is afterwards; -1 where it does not fit."""
        board = self.board
        load, source = board.load[guests], board.where[guests]
        now = (board.busy[source] / board.room[source]).max(axis=1)
        left = ((board.busy[source] - load) / board.room[source]).max(axis=1)
        then = ((board.busy[hosts][None] + load[:, None]) / board.room[hosts][None]).max(axis=2)
        gains: Floats = now[:, None] - np.maximum(then, left[:, None])
        fits = has_room(board.free[hosts][None], board.need[guests][:, None]).all(axis=2)
        fits &= board.reach[board.kind[guests]][:, hosts] & board.open[hosts][None]
        fits &= source[:, None] != hosts[None]
        gains[~fits] = -1.0
        return gains

    def _go(self, v: int, host: int) -> None:
        board = self.board
        guest, source = board.problem.guests[v], int(board.where[v])
        sites = board.problem.sites
        before = self._trail.before((v,), host)
        self._trail.leaves(len(self.moves), v)
        ends = sites[source].name, sites[host].name
        self.moves.append(PlannedMove(guest.name, *ends, guest.bytes, guest.priority, before, "balance"))
        self.free[v] = False
        board.move((v,), host)
