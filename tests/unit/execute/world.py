"""A world for engine tests: steps change a dictionary, the journal is a list, time is virtual."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from novafleet.errors import NovaFleetError
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Record
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


class VirtualClock:
    """Time that passes only by sleeping; sleepers wake at once, in order."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


class MemoryJournal:
    """Keeps records; dies after ``limit`` of them, as a killed controller does."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.records: list[Record] = []
        self._limit = limit

    async def append(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(0)
        room = self._limit - len(self.records)
        self.records.extend(records[:room])
        if room < len(records):
            raise NovaFleetError("killed", code="NF-RUN-013")

    def kinds(self, node: str) -> list[str]:
        return [record.kind for record in self.records if record.node == node]

    def at(self, node: str, kind: str) -> int:
        return next(n for n, record in enumerate(self.records) if (record.node, record.kind) == (node, kind))


WAITING = "waiting"
"""The ``host`` argument of checks, which take no place and are not counted."""


class World:
    """``made`` counts effects by step; ``running`` is watched for limits; ``fail`` and ``during`` disturb steps."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.order: list[str] = []
        self.fail: dict[str, list[NovaFleetError]] = {}
        self.during: dict[str, Callable[[], Any]] = {}
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def _do(self, _context: ActionContext, args: Mapping[str, Json]) -> Outcome:
        name, host = args["name"], args["host"]
        places = () if host == WAITING else (host, "all")
        for key in places:
            self.running[key] += 1
            self.most[key] = max(self.most[key], self.running[key])
        try:
            await asyncio.sleep(0)
            if name in self.during:
                await self.during[name]()
            if self.fail.get(name):
                raise self.fail[name].pop(0)
            self.made[name] += 1
            self.order.append(name)
            return {"made": name}
        finally:
            for key in places:
                self.running[key] -= 1

    async def _probe(self, _context: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
        return {"made": args["name"]} if self.made[args["name"]] else None

    @property
    def registry(self) -> Registry:
        return {
            "convergent": Action(self._do, StepClass.CONVERGENT),
            "probed": Action(self._do, StepClass.PROBED, self._probe),
            "attached": Action(self._do, StepClass.ATTACHED, self._probe),
            "once": Action(self._do, StepClass.ONCE),
        }


def step(name: str, *after: str, kind: str = "probed", host: str = "kvm1", **details: Any) -> Step:
    """``vm.NAME/start`` with its dependencies by short name."""
    return Step(
        id=f"vm.{name}/start",
        action=kind,
        resource=f"vm.{name}",
        host=host,
        step_class=StepClass(kind),
        args={"name": name, "host": host},
        after=tuple(f"vm.{each}/start" for each in after),
        **details,
    )


def no_context(_step: Step) -> ActionContext:
    """For actions that use none."""
    return cast(ActionContext, None)
