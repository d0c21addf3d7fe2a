"""Exact placement with OR-Tools' CP-SAT (``novafleet[planner]``), for drains that the search could not finish.

It may move no guest but those that leave: a proof of "impossible" is one for that only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from novafleet.placement.board import Board

SECONDS = 20.0
LARGEST = 60_000
"""Unknowns (guests x hosts) that are worth trying."""
UNIT = 2**10
"""Bytes to the whole numbers of the model: KiB, needs rounded up and room down."""


def available() -> bool:
    """Is the extra installed?"""
    return find_spec("ortools") is not None


def solve(board: Board, units: Sequence[Sequence[int]]) -> Mapping[int, int] | bool | None:
    """A host for each unit, by its first guest: all of them, with the least load on the fullest host. None when it is
    too large or time ran out; False when there is proof that no such assignment exists."""
    from ortools.sat.python import cp_model  # type: ignore[import-not-found,unused-ignore]

    allowed = [np.flatnonzero(board.allowed(unit)) for unit in units]
    if not units or sum(len(each) for each in allowed) > LARGEST:
        return None
    model: Any = cp_model.CpModel()
    chosen = [{int(h): model.new_bool_var(f"{u}@{h}") for h in hosts} for u, hosts in enumerate(allowed)]
    for options in chosen:
        model.add_exactly_one(options.values())
    _within_room(model, board, units, chosen)
    _kept_apart(model, board, units, chosen)
    model.minimize(_fullest(model, board, units, chosen))
    solver: Any = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = SECONDS
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return False
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return {
        unit[0]: next(h for h, v in options.items() if solver.value(v))
        for unit, options in zip(units, chosen, strict=True)
    }


def _within_room(model: Any, board: Board, units: Sequence[Sequence[int]], chosen: Sequence[Mapping[int, Any]]) -> None:
    needs = np.array([board.needs(unit) for unit in units])
    for h in range(len(board.problem.sites)):
        for resource, name in enumerate(board.resources):
            scale = 1 if name == "pinned CPUs" else UNIT
            wanted = [
                (int(-(-needs[u, resource] // scale)), options[h]) for u, options in enumerate(chosen) if h in options
            ]
            model.add(sum(size * var for size, var in wanted) <= int(max(board.free[h, resource], 0.0) // scale))


def _kept_apart(model: Any, board: Board, units: Sequence[Sequence[int]], chosen: Sequence[Mapping[int, Any]]) -> None:
    of = {v: u for u, unit in enumerate(units) for v in unit}
    for rule in board.rules.apart:
        here = sorted({of[board.guest[name]] for name in rule.members if board.guest.get(name) in of})
        places = board.zone if rule.zone else np.arange(len(board.problem.sites))
        for place in sorted(set(places.tolist())):
            together = [var for u in here for h, var in chosen[u].items() if places[h] == place]
            if len(together) > 1:
                model.add_at_most_one(together)


def _fullest(model: Any, board: Board, units: Sequence[Sequence[int]], chosen: Sequence[Mapping[int, Any]]) -> Any:
    """Thousandths of the fullest resource of the fullest host."""
    top = model.new_int_var(0, 1_000_000, "fullest")
    load = np.array([board.load[list(unit)].sum(axis=0) for unit in units])
    for h in range(len(board.problem.sites)):
        for kind in range(load.shape[1]):
            share = [(int(load[u, kind] / board.room[h, kind] * 1000), o[h]) for u, o in enumerate(chosen) if h in o]
            if share:
                now = int(board.busy[h, kind] / board.room[h, kind] * 1000)
                model.add(now + sum(size * var for size, var in share) <= top)
    return top
