"""Which step may start next: what it waits for, how urgent it is, and the places per host and in all. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from novafleet.execute.critical import priorities
from novafleet.model.plan import Step
from novafleet.plan.graph import check_acyclic

Rank = tuple[float, int, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many steps run at once."""

    per_host: int = 8
    total: int = 64


class Schedule:
    """The state of one run's DAG. Steps named in ``after`` that are not among ``steps`` are already satisfied.

    A ready step takes a place on its host when there is one; the most urgent of these starts first. A check takes no
    place: it mostly waits, and a host whose places were all waiting for guests could not start the next one.
    Raises ConfigError NF-CFG-040 when steps wait for each other.
    """

    def __init__(self, steps: Sequence[Step], limits: Limits) -> None:
        self._limits = limits
        self._steps = {step.id: step for step in steps}
        self._dependants: dict[str, list[str]] = defaultdict(list)
        self._waits = {step.id: self._edges(step) for step in steps}
        self._open = dict.fromkeys(self._steps)
        self._free = limits.total
        self._host_load: dict[str, int] = defaultdict(int)
        self._host_queue: dict[str, list[Rank]] = defaultdict(list)
        self._queue: list[Rank] = []
        self._checks: list[Rank] = []
        urgency = priorities(self._steps, self._order(steps))
        self._rank: dict[str, Rank] = {step.id: (-urgency[step.id], n, step.id) for n, step in enumerate(steps)}
        for step in steps:
            if not self._waits[step.id]:
                self._ready(step)

    def _edges(self, step: Step) -> int:
        before = {name for name in step.after if name in self._steps}
        for name in before:
            self._dependants[name].append(step.id)
        return len(before)

    def _order(self, steps: Sequence[Step]) -> Sequence[str]:
        waits = dict(self._waits)
        order = [step.id for step in steps if not waits[step.id]]
        for name in order:
            for dependant in self._dependants[name]:
                waits[dependant] -= 1
                if not waits[dependant]:
                    order.append(dependant)
        if len(order) < len(self._steps):
            check_acyclic(steps)
        return order

    def next(self) -> Step | None:
        """Start the most urgent step that may start: it keeps its places until it is settled."""
        queue = self._checks or (self._queue if self._free else [])
        if not queue:
            return None
        step = self._steps[heappop(queue)[2]]
        self._free -= not step.check
        del self._open[step.id]
        return step

    def succeeded(self, step: Step) -> None:
        """Free its places; steps that waited only for it are ready."""
        self._leave(step)
        for name in self._dependants[step.id]:
            self._waits[name] -= 1
            if not self._waits[name]:
                self._ready(self._steps[name])

    def failed(self, step: Step) -> tuple[Step, ...]:
        """Free its places; its descendants will never start and are returned."""
        self._leave(step)
        doomed: list[Step] = []
        names = list(self._dependants[step.id])
        for name in names:
            if name in self._open:
                del self._open[name]
                doomed.append(self._steps[name])
                names.extend(self._dependants[name])
        return tuple(doomed)

    def unstarted(self) -> tuple[Step, ...]:
        """Steps that neither started nor were given up."""
        return tuple(self._steps[name] for name in self._open)

    def _ready(self, step: Step) -> None:
        if step.check:
            heappush(self._checks, self._rank[step.id])
        elif self._host_load[step.host] < self._limits.per_host:
            self._host_load[step.host] += 1
            heappush(self._queue, self._rank[step.id])
        else:
            heappush(self._host_queue[step.host], self._rank[step.id])

    def _leave(self, step: Step) -> None:
        if step.check:
            return
        self._free += 1
        if self._host_queue[step.host]:
            heappush(self._queue, heappop(self._host_queue[step.host]))
        else:
            self._host_load[step.host] -= 1
