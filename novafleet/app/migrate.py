"""``migrate``: VMs from host to host, journalled, under their leases on both hosts; one that fails goes back alone."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from novafleet.app.bringing import Bringing
from novafleet.app.context import Emit, Reached, StepContext, reach
from novafleet.app.dossier import dossier_of
from novafleet.app.figures import Figures
from novafleet.app.migrategates import GIVEN_UP, UNVERIFIED
from novafleet.app.migratehistory import remember
from novafleet.app.migratetrip import PATIENCE, Trip, unclear
from novafleet.app.recover import settled
from novafleet.app.vmselect import GLOB, Chosen, select
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.capability.migration.decide import refuse
from novafleet.capability.migration.downtime import Watcher
from novafleet.capability.migration.route import close_route
from novafleet.capability.migration.sides import Place, place_of
from novafleet.capability.migration.survey import Surveys
from novafleet.errors import ConfigError, ExitCode, Location, NovaFleetError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.lease import HostLease
from novafleet.execute.nested import hold_one
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Dossier, Mode, Outcome, Wanted
from novafleet.model.plan import Step
from novafleet.model.run import Event, NodeResult, NodeState, Run, RunState
from novafleet.store.journal import Journal, new_run_id
from novafleet.together import together

Watch = Callable[[int], AbstractContextManager[Emit]]
Confirm = Callable[[Sequence[str]], bool]
DAY = 86400.0
AT_ONCE = 2
"""VMs under way together: more of them share one link, and each stands still for longer (issue 4's research, 2.2)."""
WATCHERS = 3
LOOKS = 3
"""VMs looked at together: each measures the link."""
STEPS = 4
ARRIVED = frozenset(("done", "unverified"))
"""States in which a VM is on its destination."""


@dataclass(frozen=True, slots=True)
class Request:
    """``patterns`` as ``vmselect`` understands them; ``to`` a host or a group. ``undo`` seconds the source keeps the
    disks of what left. ``agreed``: nobody is going to be asked."""

    inventory: tuple[Path, ...]
    patterns: tuple[str, ...]
    to: str
    wanted: Wanted
    undo: float = DAY
    at_once: int = AT_ONCE
    lock_wait: float = 0.0
    agreed: bool = False

    @property
    def single(self) -> bool:
        """Is one VM meant, by its name?"""
        return len(self.patterns) == 1 and not GLOB & set(self.patterns[0])

    @property
    def figures(self) -> Figures:
        """What is measured for it: late, where neither a person nor a choice of mode waits for figures."""
        return Figures(late=self.agreed and self.wanted.mode is not Mode.AUTO)


@dataclass(frozen=True, slots=True)
class VmMove:
    """What became of one VM. ``state``: done | failed | rolled-back | unverified | unclear; ``error``: what led there.
    Unverified: it runs on the destination, where a gate was not met; the source keeps its disks."""

    vm: str
    domain: str
    source: str
    destination: str
    state: str
    outcome: Outcome | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A run of migrations; ``declined`` when nobody agreed to it."""

    run: str
    vms: tuple[VmMove, ...] = ()
    single: bool = False
    cancelled: bool = False
    declined: bool = False
    raised: NovaFleetError | None = field(default=None, compare=False)

    @property
    def exit_code(self) -> ExitCode:
        """0 all, 3 some, 1 none, 130 interrupted."""
        states = {vm.state for vm in self.vms}
        if self.cancelled and states != {"done"}:
            return ExitCode.INTERRUPTED
        if states == {"done"}:
            return ExitCode.OK
        return ExitCode.PARTIAL if "done" in states else ExitCode.FAILED


async def dossiers(request: Request) -> tuple[Dossier, ...]:
    """``--plan``: what each VM's migration would be like. Raises ConfigError NF-VM-006 and -007, NF-MIG-301, -302."""
    async with open_world(request.inventory) as world:
        chosen, _ = await together(select(world, request.patterns), _greet(world, request.to))
        return await _dossiers(world, chosen, request, Surveys(), Figures())


async def _greet(world: World, to: str) -> None:
    """Connect while the source is asked; a host that does not answer is told of when it matters."""
    await reach(world, [to] if to in world.fleet.hosts else [])


async def _dossiers(
    world: World, chosen: Sequence[Chosen], request: Request, surveys: Surveys, figures: Figures
) -> tuple[Dossier, ...]:
    """A few at a time. What a glob finds at the destination already is left out, unless it finds nothing else."""
    slots = asyncio.Semaphore(LOOKS)

    async def one(each: Chosen) -> Dossier:
        async with slots:
            return await _dossier(world, each, request, surveys, figures)

    elsewhere = [each for each in chosen if request.single or each.host.name != request.to]
    return await together(*(one(each) for each in elsewhere or chosen))


async def _dossier(world: World, chosen: Chosen, request: Request, surveys: Surveys, figures: Figures) -> Dossier:
    """The way to the host named, or to the first host of the group where nothing is in its way."""
    names = destinations(world, request.to, chosen.host.name)
    found = await dossier_of(world, chosen, names[0], request.wanted, surveys, figures=figures)
    for name in names[1:]:
        if found.move.ladder:
            break
        found = await dossier_of(world, chosen, name, request.wanted, surveys, figures=figures)
    return found


def destinations(world: World, to: str, source: str) -> Sequence[str]:
    """The hosts ``--to`` means. Raises ConfigError NF-MIG-301 for an empty or unknown one."""
    if to in world.fleet.hosts or to not in world.fleet.groups:
        return (to,)
    found = [name for name in world.fleet.groups[to].hosts if name != source]
    if not found:
        raise ConfigError(f"group {to} has no host but {source}", code="NF-MIG-301", hints=("novafleet host ls",))
    return found


async def migrate(request: Request, watch: Watch, confirm: Confirm) -> Done:
    """Look, refuse what cannot be, ask, and move. One VM that fails does not keep the others from moving.

    Raises what looking and refusing raise, before anything is touched: with several VMs one that cannot move refuses
    them all. LockHeldError NF-LOCK-003 when a VM is being backed up, snapshotted or moved.
    """
    async with open_world(request.inventory) as world, request.figures as figures:
        chosen, _ = await together(settled(world, request.patterns, request.lock_wait), _greet(world, request.to))
        surveys = Surveys()
        found = await _dossiers(world, chosen, request, surveys, figures)
        for dossier in found:
            refuse(dossier)
        run_id = new_run_id(world.clock.now())
        if not confirm([line for dossier in found for line in said(dossier)]):
            return Done(run_id, single=request.single, declined=True)
        async with open_journal(world.places) as journal:
            return await Migrations(world, request, journal, run_id, surveys, figures=figures).run(found, watch)


def said(dossier: Dossier) -> Sequence[str]:
    """What a person agrees to, in a few lines."""
    move = dossier.move
    first = next((each for each in dossier.verdicts if each.mode is move.ladder[0]), None)
    low, high = first.downtime_ms if first else (0.0, 0.0)
    times = f", about {first.total_seconds:.0f} s, still for {low:.0f} to {high:.0f} ms" if first else ""
    ladder = ", then ".join(mode.value for mode in move.ladder)
    line = f"{move.domain}: {move.source} -> {move.destination}, {ladder}, path {move.path.value}{times}"
    return (line, *(f"  {each.severity.value}: {each.what}" for each in dossier.findings))


class Migrations:
    """One run over several VMs; a drain moves its VMs with ``one`` and begins, stops and ends the run itself."""

    def __init__(
        self,
        world: World,
        request: Request,
        journal: Journal,
        run_id: str,
        surveys: Surveys,
        cancellation: Cancellation | None = None,
        bringing: Bringing | None = None,
        figures: Figures | None = None,
    ) -> None:
        self._world, self._request, self._journal, self._run_id = world, request, journal, run_id
        self._surveys, self._figures = surveys, figures or Figures()
        self._places = asyncio.Semaphore(max(1, request.at_once))
        self._bringing = bringing or Bringing()
        self._cancellation = cancellation or Cancellation()

    async def run(self, found: Sequence[Dossier], watch: Watch) -> Done:
        """All of them, to their end."""
        await self._begin(found)
        with watch(STEPS * len(found)) as emit, self._cancellation.signals(lambda _stage: self._stopping(emit)):
            rows = await asyncio.gather(*(self.one(dossier, emit) for dossier in found))
        cancelled = self._cancellation.stage is not Stage.RUN
        done = all(row.state == "done" for row in rows)
        state = RunState.DONE if done else RunState.CANCELLED if cancelled else RunState.FAILED
        summary = {"vms": [f"{row.source}/{row.domain}: {row.state}" for row in rows]}
        await self._journal.finish(self._run_id, state, self._world.clock.now(), summary)
        return Done(self._run_id, tuple(rows), self._request.single, cancelled)

    def _stopping(self, emit: Emit) -> None:
        text = "stopping: a guest that has not arrived yet goes back; Ctrl-C again cuts copies off"
        emit(Event("notice", self._world.clock.now(), self._run_id, text=text))

    async def _begin(self, found: Sequence[Dossier]) -> None:
        holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
        names = [f"{each.move.source}/{each.move.domain}" for each in found]
        environments = {each.move.environment for each in found}
        environment = environments.pop() if len(environments) == 1 else ""
        header = {"vms": names, "to": self._request.to, "environment": environment}
        now = self._world.clock.now()
        await self._journal.begin(Run(self._run_id, "", "migrate", RunState.RUNNING, now, 0.0, holder, header))

    async def one(self, dossier: Dossier, emit: Emit) -> VmMove:
        """Move one VM under its leases; what goes wrong is in the answer."""
        move = dossier.move
        row = VmMove(move.vm, move.domain, move.source, move.destination, "failed")
        async with self._bringing.turn(move) as move, self._places:
            dossier = replace(dossier, move=move)
            try:
                async with self._trip(dossier) as trip:
                    row = await self._travel(trip, row, emit)
            except NovaFleetError as error:
                return _failed(row, error.finding())
            if row.state in ARRIVED:
                self._bringing.arrived(move)
        if row.outcome is not None:
            remember(self._world.places, self._figures.completed(dossier), row.outcome, self._world.clock.now())
        return row

    @asynccontextmanager
    async def _trip(self, dossier: Dossier) -> AsyncIterator[Trip]:
        """The VM's lease held on both hosts, in the order of their names: two that swap VMs never block each other."""
        move, world = dossier.move, self._world
        reached, failed = await reach(world, (move.source, move.destination))
        for error in failed.values():
            raise error
        fenced: dict[str, Reached] = {}
        async with AsyncExitStack() as stack:
            for name in sorted(reached):
                session, scope = reached[name].session, f"vm.{move.domain}"
                holding = hold_one(session, scope, self._run_id, world.clock, wait=self._request.lock_wait)
                fenced[name] = _fenced(reached[name], await stack.enter_async_context(holding))
            yield Trip(
                move,
                fenced[move.source],
                fenced[move.destination],
                self._journal,
                world.clock,
                self._run_id,
                self._request.undo,
                self._watchers(dossier),
                self._surveys,
            )

    def _watchers(self, dossier: Dossier) -> Sequence[Watcher]:
        """A few hosts that are neither source nor destination, those of the same groups first."""
        move, hosts = dossier.move, self._world.fleet.hosts
        if not set(move.ladder) & {Mode.LIVE, Mode.POSTCOPY}:
            return ()
        near = set(hosts[move.source].groups) & set(hosts[move.destination].groups)
        others = [each for each in hosts.values() if each.name not in (move.source, move.destination)]
        others.sort(key=lambda each: -len(near & set(each.groups)))
        return [partial(self._world.sessions.get, host) for host in others[:WATCHERS]]

    async def _travel(self, trip: Trip, row: VmMove, emit: Emit) -> VmMove:
        results = await self._steps(trip, trip.there(), emit, self._cancellation)
        failure = next((each.error for each in results if each.error), None)
        if all(each.state is NodeState.DONE for each in results):
            return await self._onward(trip, row, emit)
        seen = await place_of(trip.ends(), trip.move, patience=PATIENCE)
        if seen.where is Place.DESTINATION and results[0].state is NodeState.DONE:
            return await self._onward(trip, row, emit)
        if seen.where is Place.UNCLEAR:
            return _failed(row, {**unclear(trip.move, seen.why).finding(), "because": failure}, "unclear")
        return await self._back(trip, row, emit, failure or _interrupted(trip))

    async def _back(self, trip: Trip, row: VmMove, emit: Emit, failure: Mapping[str, Any]) -> VmMove:
        await close_route(trip.source, trip.destination, trip.move.job)
        back = await self._steps(trip, trip.back(), emit, Cancellation())
        if back[0].error:
            return _failed(row, {**back[0].error, "because": failure}, "unclear")
        return _failed(row, failure, "rolled-back")

    async def _onward(self, trip: Trip, row: VmMove, emit: Emit) -> VmMove:
        """Not to be interrupted: the guest is there, and nobody else puts its house in order."""
        results = await self._steps(trip, trip.onward(), emit, Cancellation())
        failure = next((each.error for each in results if each.error), None)
        if failure and failure["code"] == GIVEN_UP:
            return await self._back(trip, row, emit, failure)
        if failure:
            return _failed(row, failure, "unverified" if failure["code"] == UNVERIFIED else "unclear")
        return VmMove(row.vm, row.domain, row.source, row.destination, "done", trip.outcome)

    async def _steps(
        self, trip: Trip, steps: Sequence[Step], emit: Emit, cancellation: Cancellation
    ) -> Sequence[NodeResult]:
        clock = self._world.clock
        nothing = Environment(trip.move.environment, Location(""))
        facts = HostFacts(trip.move.source, clock.now())

        def context(step: Step) -> StepContext:
            return StepContext(trip.source, nothing, facts, self._run_id, step.id, emit, clock.now)

        engine = Engine(trip.registry(), context, self._journal, clock, emit=emit)
        return await engine.run(self._run_id, steps, cancellation=cancellation)


def _fenced(plain: Reached, lease: HostLease) -> Reached:
    return Reached(plain.host, fence(plain.session, lease), fence_hypervisor(plain.hypervisor, lease))


def _failed(row: VmMove, finding: Mapping[str, Any], state: str = "failed") -> VmMove:
    return VmMove(row.vm, row.domain, row.source, row.destination, state, error=finding)


def _interrupted(trip: Trip) -> Mapping[str, Any]:
    return NovaFleetError(
        f"{trip.move.domain} was not moved: interrupted", code="NF-MIG-204", where=trip.move.source
    ).finding()
