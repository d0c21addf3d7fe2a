"""``migrate stack``: a container stack from host to host: copied while it runs, a short stop, a gate, or all back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from novafleet.app.context import Reached, StepContext, reach, silent
from novafleet.app.errand import Errand, carry_out
from novafleet.app.migrate import DAY, Confirm, Done, VmMove, Watch
from novafleet.app.vmselect import ChosenStack, look
from novafleet.app.wiring import World, open_world
from novafleet.capability.backup.stack import StackPlace, volumes
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.quarantine import quarantines
from novafleet.capability.migration.stack import (
    StackMove,
    StackVolume,
    await_up,
    commit_stack,
    containers_up,
    prepare_stack,
    quiet_stack,
    sync_stack,
    unfinished,
    unprepare_stack,
)
from novafleet.capability.stack import actions, bundle
from novafleet.capability.stack.actions import starter
from novafleet.capability.stack.runtime import Runner, choose
from novafleet.errors import ConfigError, Location, MigrationError, NovaFleetError, Retry
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.gather import gather
from novafleet.execute.nested import hold_one
from novafleet.model.encode import encode
from novafleet.model.environment import Environment, Stack
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Mode, Outcome, Phase
from novafleet.model.migration import Path as Carrier
from novafleet.observe.registry import collectors
from novafleet.ports import ActionContext, Json
from novafleet.ports import Outcome as Told
from novafleet.store.journal import new_run_id

HEALTHY = 120.0
"""Seconds a stack has on its destination to come up and be healthy."""


@dataclass(frozen=True, slots=True)
class StackRequest:
    """``stack``: its project, HOST/PROJECT or ENV/NAME; ``undo`` seconds the source keeps its volumes."""

    inventory: tuple[Path, ...]
    stack: str
    to: str
    undo: float = DAY
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class _Party:
    """One stack's move and what runs it on each side."""

    world: World
    chosen: ChosenStack
    move: StackMove
    here: Runner
    there: Runner
    reached: Mapping[str, Reached]
    facts: HostFacts
    request: StackRequest


def named(text: str) -> str:
    """As ``vmselect`` calls a stack: ``web/edge`` is ``web/stack.edge``."""
    first, slash, last = text.rpartition("/")
    return f"{first}{slash}{last if last.startswith('stack.') else f'stack.{last}'}"


async def migrate_stack(request: StackRequest, watch: Watch, confirm: Confirm) -> Done:
    """Move it. A failure does not raise: then it runs where it was; see ``Done``.

    Raises ConfigError NF-VM-006 and -007, NF-MIG-301, -302, NF-STK-002, and the error of a host that cannot be reached.
    """
    async with open_world(request.inventory) as world:
        party = await _party(world, request)
        move, run_id = party.move, new_run_id(world.clock.now())
        names = ", ".join(each.name for each in move.volumes) or "none"
        if not confirm((f"{move.name}: {move.source} -> {move.destination}, volumes: {names}",)):
            return Done(run_id, single=True, declined=True)
        header = {"vms": [f"{move.source}/stack.{move.project}"], "to": move.destination}
        scope, source = f"stack.{move.project}", party.reached[move.source]
        errand = Errand(world, source, party.facts, run_id, "migrate", scope, scope, header, request.lock_wait)
        ended = await carry_out(errand, lambda ctx: _leased(party, ctx, run_id), watch)
        known = (move.name, f"stack.{move.project}", move.source, move.destination)
        if ended.state != "done":
            return Done(run_id, (VmMove(*known, "rolled-back", error=ended.error),), True, ended.state == "cancelled")
        outcome = Outcome(move.job, *known[:2], *known[2:], Mode.WARM, Carrier.RELAY, **ended.outcome)
        return Done(run_id, (VmMove(*known, "done", outcome),), single=True)


async def _party(world: World, request: StackRequest) -> _Party:
    selection = await look(world, (named(request.stack),), stacks=True)
    for error in selection.unseen.values():
        raise error
    [chosen] = [each for each in selection.chosen if isinstance(each, ChosenStack)]
    source = chosen.host.name
    if request.to not in world.fleet.hosts:
        raise ConfigError(f"there is no host {request.to}", code="NF-MIG-301", hints=("novafleet host ls",))
    if request.to == source:
        raise ConfigError(f"{chosen.vm} is on {source} already", code="NF-MIG-302")
    reached, failed = await reach(world, (source, request.to))
    for error in failed.values():
        raise error
    hosts = [world.fleet.hosts[name] for name in (source, request.to)]
    facts = (await gather(world.sessions, hosts, collectors(("libvirt", "system", "containers")), world.clock)).hosts
    here, there = _runners(chosen, facts[source], facts[request.to])
    move = await _move(world, chosen, reached, facts, here, there, request.to)
    return _Party(world, chosen, move, here, there, reached, facts[source], request)


def _runners(chosen: ChosenStack, here: HostFacts, there: HostFacts) -> tuple[Runner, Runner]:
    fact = chosen.fact
    stack = Stack(chosen.vm, there.host, fact.project, fact.kind, "", (), "", source=Location(""))
    same = replace(stack, runtime=fact.runtime if fact.runtime in there.engines else "auto")
    return choose(replace(stack, runtime=fact.runtime), here), choose(same, there)


async def _move(
    world: World,
    chosen: ChosenStack,
    reached: Mapping[str, Reached],
    facts: Mapping[str, HostFacts],
    here: Runner,
    there: Runner,
    to: str,
) -> StackMove:
    fact, root = chosen.fact, bundle.directory(chosen.fact.project)
    ctx = _context(world, reached[chosen.host.name], facts[chosen.host.name])
    found = await volumes(ctx, StackPlace(fact.project, here.engine, fact.kind, root))
    kept = [each for each in await quarantines(reached[to]) if each.uuid == chosen.domain.uuid]
    return StackMove(
        job=secrets.token_hex(4),
        name=chosen.vm,
        project=fact.project,
        uuid=chosen.domain.uuid,
        environment=chosen.environment,
        source=chosen.host.name,
        destination=to,
        engine=here.engine,
        runs_by=there.engine,
        kind=fact.kind,
        root=root,
        volumes=tuple(StackVolume(each.name, each.path, each.labels) for each in found if not each.skip),
        left=tuple(name for each in kept for name in each.volumes),
    )


def _context(world: World, reached: Reached, facts: HostFacts) -> StepContext:
    nothing = Environment("", Location(""))
    return StepContext(reached, nothing, facts, "", "migrate", silent, world.clock.now)


async def _leased(party: _Party, ctx: ActionContext, run_id: str) -> Told:
    """Its lease on the destination too, then the move."""
    world, move = party.world, party.move
    plain = party.reached[move.destination]
    wait = party.request.lock_wait
    async with hold_one(plain.session, f"stack.{move.project}", run_id, world.clock, wait=wait) as lease:
        there = Reached(plain.host, fence(plain.session, lease), fence_hypervisor(plain.hypervisor, lease))

        async def note(_phase: Phase, _values: Mapping[str, Json]) -> None:
            """Where a stack is, its hosts show by themselves: containers, manifest, record."""

        here = Reached(ctx.host, ctx.session, ctx.hypervisor)
        return await _Way(party, Ends(here, there, note, ctx.progress)).go()


class _Way:
    """One stack under way."""

    def __init__(self, party: _Party, ends: Ends) -> None:
        self._party, self._ends, self._move = party, ends, party.move
        self._clock = party.world.clock
        self._made = self._stopped = False

    async def go(self) -> Told:
        """There and committed, or back."""
        began = self._clock.monotonic()
        up, _ = await containers_up(self._ends.source, self._move.engine, self._move.label)
        await self._settle_earlier(up)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._back, up)
            folders = await prepare_stack(self._ends, self._move)
            self._made = True
            await sync_stack(self._ends, self._move, folders, changes=False)
            stopped = self._clock.monotonic()
            self._stopped = True
            await self._stop(self._ends.source, self._move.engine)
            await sync_stack(self._ends, self._move, folders, changes=True)
            await self._start(up)
            still = (self._clock.monotonic() - stopped) * 1000 if up else -1.0
            undo.pop_all()
        await quiet_stack(self._ends.source, self._move.job)
        kept = await commit_stack(self._ends, self._move, self._clock.now(), self._party.request.undo)
        return _told(kept.until, still, (self._clock.monotonic() - began) * 1000)

    async def _settle_earlier(self, up: int) -> None:
        """What a move left whose controller died goes, unless the stack came up there: then it is not ours to judge."""
        for job in await unfinished(self._ends.destination, self._move.uuid):
            there, _ = await containers_up(self._ends.destination, self._move.runs_by, self._move.label)
            if there and not up:
                raise MigrationError(
                    f"{self._move.name} runs on {self._move.destination}: an earlier move was cut off after it came up",
                    code="NF-MIG-423",
                    where=self._move.destination,
                    hints=(
                        f"novafleet migrate stack {self._move.destination}/{self._move.project} --to "
                        f"{self._move.source}   # back, with its data; then move it again",
                    ),
                    retry=Retry.AFTER_FIX,
                )
            await self._stop(self._ends.destination, self._move.runs_by)
            await unprepare_stack(self._ends.destination, job)

    def _acting(self, end: Any, name: str) -> StepContext:
        return replace(_context(self._party.world, self._party.reached[name], self._party.facts), reached=end)

    async def _stop(self, end: Any, engine: str) -> None:
        """Its containers go, volumes and bundle stay."""
        args = {"project": self._move.project, "engine": engine, "kind": self._move.kind, "volumes": False}
        await actions.stop(self._acting(end, end.host.name), args)

    async def _start(self, wanted: int) -> None:
        if not wanted:
            return
        await self._run(self._ends.destination, self._party.there)
        await await_up(self._ends.destination, self._move, wanted, HEALTHY)

    async def _run(self, end: Any, runner: Runner) -> None:
        move = self._move
        entry = await self._entry(end, runner)
        stack = Stack(move.name, end.host.name, move.project, move.kind, entry, (), "", source=Location(""))
        done = await end.session.run(
            starter(stack, runner.provider, recreate=True), check=False, timeout=actions.TIMEOUT
        )
        if not done.ok:
            raise MigrationError(
                f"{move.name} does not start on {end.host.name}",
                code="NF-MIG-421",
                where=end.host.name,
                cause=done.stderr.decode("utf-8", "replace").strip()[-400:],
                hints=(f"{runner.engine} ps -a   # on {end.host.name}",),
                retry=Retry.AFTER_FIX,
            )

    async def _entry(self, end: Any, runner: Runner) -> str:
        """The bundle's entry, its record saying what runs it here."""
        path = f"{self._move.root}/{bundle.RECORD}"
        known = json.loads(await end.session.pull(path, become=True))
        if known.get("runtime") != runner.engine:
            text = json.dumps({**known, "runtime": runner.engine, "digest": ""}, indent=2).encode()
            await end.session.push(text, path, mode=0o600, become=True)
        entry = str(known.get("entry", ""))
        if entry.startswith("/") or ".." in Path(entry).parts:
            raise NovaFleetError(f"the entry {entry!r} of {path} leads out of the bundle")
        return entry

    async def _back(self, up: int) -> None:
        """Nothing of it on the destination, and on the source as before."""
        await quiet_stack(self._ends.source, self._move.job)
        if self._made:  # else containers of that project there are another's
            await self._stop(self._ends.destination, self._move.runs_by)
        await unprepare_stack(self._ends.destination, self._move.job)
        if self._stopped and up:
            await self._run(self._ends.source, self._party.here)


def _told(until: float, still: float, total: float) -> Told:
    told = {
        "total_ms": round(total, 1),
        "downtime_ms": round(still, 1),
        "downtimes": {"controller": round(still, 1)} if still >= 0 else {},
        "verified": still >= 0,
        "undo_until": until,
    }
    return dict(encode(told))
