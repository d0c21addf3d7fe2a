"""Many planned moves as one journalled run: within windows, places and bandwidth, each by ``migrate``'s own means."""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, TypeVar

from novafleet.app.bringing import Bringing
from novafleet.app.context import Emit
from novafleet.app.dossier import dossier_of
from novafleet.app.migrate import STEPS, Migrations, Request, VmMove
from novafleet.app.terms import Governing, Terms
from novafleet.app.vmselect import seen, select
from novafleet.app.wiring import World
from novafleet.capability.migration.decide import refuse
from novafleet.capability.migration.recover import OFF
from novafleet.capability.migration.survey import Surveys
from novafleet.errors import ExitCode, NovaFleetError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.model.encode import decode, encode
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Dossier, Finding, Mode, Path, Severity, Wanted
from novafleet.model.policies import Policies
from novafleet.model.run import Event, Record, Run, RunState
from novafleet.placement.order import Convoy
from novafleet.placement.problem import Plan, PlannedMove
from novafleet.source import cron
from novafleet.store.journal import Journal

T = TypeVar("T")
Watch = Callable[[int], AbstractContextManager[Emit]]
MOVED = "moved"
"""Last part of a record that says a guest arrived: its payload is what ``undrain`` and cooldowns need."""
VMS = "vms"
WAITING = "waiting"
BARRED = "NF-PLACE-014"
DOWNTIME = Wanted().max_downtime
FRESH = 120.0
"""Seconds for which a look at hosts and guests is good."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How the caller wants guests moved. ``bandwidth`` bytes a second of each link, ``per_host`` moves at once (0: the
    policies'), ``anytime``: windows do not count. ``undo`` seconds sources keep the disks."""

    mode: Mode = Mode.AUTO
    path: Path = Path.AUTO
    bandwidth: int = 0
    per_host: int = 0
    max_downtime: int = 0
    anytime: bool = False
    consent: tuple[str, ...] = ()
    undo: float = 86400.0
    lock_wait: float = 0.0

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes it allows; empty: all."""
        return () if self.mode is Mode.AUTO else (self.mode.value,)


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one planned move. ``state``: done | failed | rolled-back | unclear | waiting (for its window, or
    not begun before the run was stopped) | skipped (what should make room for it failed)."""

    guest: str
    source: str
    destination: str
    state: str
    outcome: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Travelled:
    """A run of moves."""

    run: str
    moves: tuple[Moved, ...]
    cancelled: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 all, 3 some, 1 none, 130 interrupted."""
        states = {each.state for each in self.moves}
        if states <= {"done"}:
            return ExitCode.OK
        if self.cancelled:
            return ExitCode.INTERRUPTED
        return ExitCode.PARTIAL if states & {"done", WAITING} else ExitCode.FAILED


def wanted_of(wish: Wish, terms: Terms, ends: tuple[Policies, Policies]) -> Wanted:
    """What ``migrate`` is asked for one guest: a link's bandwidth is shared by the moves it may carry at once."""
    limits = [each.bandwidth for each in ends if each.bandwidth]
    budget = wish.bandwidth or min(limits, default=0)
    downtime = wish.max_downtime or terms.max_downtime or DOWNTIME
    return Wanted(
        mode=wish.mode,
        path=wish.path,
        max_downtime=downtime,
        bandwidth=budget // link_places(wish, ends),
        consent=frozenset(wish.consent),
    )


def link_places(wish: Wish, ends: tuple[Policies, Policies]) -> int:
    """Moves that go from the one to the other at once."""
    return min(*(each.per_link for each in ends), *([wish.per_host] if wish.per_host else []))


def allowed(dossier: Dossier, terms: Terms) -> Dossier:
    """The dossier with only those modes of its ladder that the policies allow; none left is a blocker. One that is off
    goes as such ones go."""
    before = dossier.move.ladder
    if not dossier.move.running:
        return dossier
    ladder = tuple(mode for mode in before if not terms.modes or mode.value in terms.modes)
    found = replace(dossier, move=replace(dossier.move, ladder=ladder))
    if ladder or not before:
        return found
    what = f"it could go {', '.join(before)}, and its policy allows {', '.join(terms.modes)}"
    barred = Finding(Severity.BLOCKER, BARRED, what, "change `modes` in its policy, or: novafleet migrate VM --to HOST")
    return replace(found, findings=(barred, *found.findings))


def minute_of(now: float) -> int:
    """Minutes after midnight, by the controller's clock."""
    local = cron.local(now)
    return local.hour * 60 + local.minute


@dataclass(frozen=True, slots=True)
class Looked:
    """Dossiers a plan rests on, by guest and destination, which need not be made again at once. ``at`` by the monotonic
    clock: when that began."""

    at: float = -math.inf
    dossiers: dict[tuple[str, str], Dossier] = field(default_factory=dict)
    surveys: Surveys = field(default_factory=Surveys)


@dataclass(slots=True)
class Travel:
    """A plan under way. ``header`` is what a resume needs; ``environments`` are not known to the journal: a run moves
    VMs of many."""

    world: World
    journal: Journal
    inventory: tuple[FilePath, ...]
    run_id: str
    governing: Governing
    wish: Wish
    looked: Looked = field(default_factory=Looked)
    cancellation: Cancellation = field(default_factory=Cancellation)
    bringing: Bringing = field(default_factory=Bringing)
    _tasks: dict[asyncio.Task[Moved], int] = field(default_factory=dict)

    async def go(self, plan: Plan, watch: Watch) -> Travelled:
        """Carry it out; what fails is in the answer. The journal has a record of each guest that arrived."""
        found: dict[int, Moved] = {}
        with (
            watch(STEPS * len(plan.moves)) as emit,
            self.cancellation.signals(lambda stage: self._stopping(stage, emit)),
        ):
            convoy = self._convoy(plan.moves)
            self._begin(convoy, plan.moves, emit)
            while self._tasks:
                ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    index = self._tasks.pop(task)
                    found[index] = task.result()
                    convoy.ended(index, ok=found[index].state == "done")
                self._begin(convoy, plan.moves, emit)
        for index, move in enumerate(plan.moves):
            state = "skipped" if index in convoy.doomed else WAITING
            found.setdefault(index, Moved(move.guest, move.source, move.destination, state))
        rows = tuple(found[index] for index in sorted(found))
        return Travelled(self.run_id, rows, self.cancellation.stage is not Stage.RUN)

    def _convoy(self, moves: Sequence[PlannedMove]) -> Convoy:
        hosts = self.governing.hosts
        per_host = {name: self.wish.per_host or each.per_host for name, each in hosts.items()}
        links = {(move.source, move.destination) for move in moves}
        per_link = {link: link_places(self.wish, (hosts[link[0]], hosts[link[1]])) for link in links}
        return Convoy(moves, lambda index: self._open(moves[index]), per_host, per_link)

    def _open(self, move: PlannedMove) -> bool:
        terms = self.governing.terms[move.guest]
        return self.wish.anytime or terms.open(minute_of(self.world.clock.now()))

    def _begin(self, convoy: Convoy, moves: Sequence[PlannedMove], emit: Emit) -> None:
        while self.cancellation.stage is Stage.RUN and (index := convoy.next()) is not None:
            task = asyncio.get_running_loop().create_task(self._one(moves[index], emit))
            self._tasks[task] = index

    def _stopping(self, stage: Stage, emit: Emit) -> None:
        del stage
        text = "stopping: no more moves begin, those under way end or go back"
        emit(Event("notice", self.world.clock.now(), self.run_id, text=text))

    async def _one(self, move: PlannedMove, emit: Emit) -> Moved:
        row = Moved(move.guest, move.source, move.destination, "failed")
        try:
            dossier = self._known(move) or await self.dossier(move)
            refuse(dossier)
            request = Request(
                self.inventory,
                (move.guest,),
                move.destination,
                dossier.move.wanted,
                self.wish.undo,
                1,
                self.wish.lock_wait,
            )
            migrations = Migrations(
                self.world, request, self.journal, self.run_id, self.looked.surveys, self.cancellation, self.bringing
            )
            return await self._noted(row, dossier, await migrations.one(dossier, emit))
        except NovaFleetError as error:
            emit(Event("notice", self.world.clock.now(), self.run_id, text=f"{move.guest}: {error}"))
            return replace(row, error=error.finding())

    def _known(self, move: PlannedMove) -> Dossier | None:
        """The one the plan rests on, if that is good still. It is of one job: who takes it takes it away."""
        found = self.looked.dossiers.pop((move.guest, move.destination), None)
        fresh = self.world.clock.monotonic() - self.looked.at < FRESH
        return found if found is not None and found.move.ladder and fresh else None

    async def dossier(self, move: PlannedMove, known: Mapping[str, HostFacts] = MappingProxyType({})) -> Dossier:
        """A look at the guest and both hosts, now, but for what is ``known`` of hosts. Raises NovaFleetError."""
        chosen = seen(self.world, known, move.guest)
        if chosen is None:
            [chosen] = await select(self.world, (move.guest,))
        await self.bringing.settled(move.destination)
        hosts, terms = self.governing.hosts, self.governing.terms[move.guest]
        wanted = wanted_of(self.wish, terms, (hosts[move.source], hosts[move.destination]))
        if chosen.domain.state in OFF:
            wanted = replace(wanted, mode=Mode.AUTO)
        found = await dossier_of(self.world, chosen, move.destination, wanted, self.looked.surveys, known=known)
        return allowed(found, terms)

    async def _noted(self, row: Moved, dossier: Dossier, result: VmMove) -> Moved:
        if result.state == "done":
            move = dossier.move
            payload = {"uuid": move.uuid, "domain": move.domain, "source": row.source, "destination": row.destination}
            now = self.world.clock.now()
            await self.journal.append([Record(self.run_id, f"{row.guest}/{MOVED}", 1, "done", 0, now, payload)])
        return replace(row, state=result.state, outcome=encode(result.outcome), error=result.error)


async def begin(journal: Journal, world: World, run_id: str, verb: str, order: object, plan: Plan) -> None:
    """Write the header of a run of moves: what a resume needs, and the guests it is about."""
    header = {**encode(order), VMS: [move.guest for move in plan.moves]}
    await journal.begin(Run(run_id, "", verb, RunState.RUNNING, world.clock.now(), 0.0, holder(), header))


def ordered(kind: type[T], run: Run) -> T:
    """What a run was begun with."""
    return decode(kind, {key: value for key, value in run.request.items() if key != VMS})


def holder() -> str:
    """Who runs it, as the journal and ``job ls`` say it."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"


async def finish(journal: Journal, world: World, travelled: Travelled, stays: Collection[str] = ()) -> None:
    """Close it: done only when everything is where the plan wanted it."""
    done = travelled.exit_code is ExitCode.OK
    state = RunState.DONE if done else RunState.CANCELLED if travelled.cancelled else RunState.FAILED
    rows = [f"{each.guest} -> {each.destination}: {each.state}" for each in travelled.moves]
    await journal.finish(travelled.run, state, world.clock.now(), {"vms": rows, "stays": sorted(stays)})
