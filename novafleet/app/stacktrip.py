"""One container stack's way from host to host: copied while it runs, a short stop, what changed, up; or all back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from novafleet.app.context import Reached, StepContext, silent
from novafleet.app.gates import wait_all
from novafleet.app.migrategates import as_stack
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.manifest import read_manifest
from novafleet.capability.migration.quarantine import Quarantine
from novafleet.capability.migration.stack import (
    StackMove,
    await_up,
    commit_stack,
    containers_up,
    prepare_stack,
    quiet_stack,
    sync_stack,
    unprepare_stack,
)
from novafleet.capability.migration.stackjob import StackJob, keep_stack
from novafleet.capability.stack import actions, bundle
from novafleet.capability.stack.actions import starter
from novafleet.capability.stack.runtime import Runner, choose
from novafleet.errors import GateError, Location, MigrationError, NovaFleetError, Retry
from novafleet.model.encode import encode
from novafleet.model.environment import Environment, Stack
from novafleet.model.facts import HostFacts
from novafleet.model.migration import GateSeen, Mode, Phase
from novafleet.model.run import Record
from novafleet.plan.moving import CLOSED
from novafleet.ports import Clock, Journal, Json

HEALTHY = 120.0
"""Seconds a stack has on its destination to come up and be healthy."""
NOTE = "note"
STACK = "stack"
"""In the journal's notes: the ``StackMove`` they are about."""


@dataclass(frozen=True, slots=True)
class StackTrip:
    """One stack under way, both hosts under its lease. ``here`` and ``there`` run it on each; ``undo`` seconds the
    source keeps its volumes."""

    move: StackMove
    source: Reached
    destination: Reached
    here: Runner
    there: Runner
    journal: Journal
    clock: Clock
    run_id: str
    undo: float
    tell: Any = None

    @property
    def ends(self) -> Ends:
        """Both hosts, for the capability."""
        return Ends(self.source, self.destination, self._note, self.tell or (lambda *_said: None))

    async def _note(self, phase: Phase, values: Mapping[str, Json]) -> None:
        """The journal first; then the destination, so that another controller knows as much."""
        move, now = self.move, self.clock.now()
        payload = {"phase": phase.value, "job": move.job, "mode": Mode.WARM.value, STACK: encode(move), **values}
        node = f"{move.source}/stack.{move.project}/migrate"
        await self.journal.append([Record(self.run_id, node, 1, NOTE, 0, now, payload)])
        if phase not in CLOSED:
            await keep_stack(self.destination, StackJob(move, phase, now))

    async def go(self) -> Mapping[str, Any]:
        """There and committed, or back. What is told of it."""
        began = self.clock.monotonic()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.back)
            await self.ends.note(Phase.PREPARING, {})
            folders = await prepare_stack(self.ends, self.move)
            await self.ends.note(Phase.COPYING, {})
            await sync_stack(self.ends, self.move, folders, changes=False)
            stopped = self.clock.monotonic()
            await self._stop(self.source, self.move.engine)
            await sync_stack(self.ends, self.move, folders, changes=True)
            await self.ends.note(Phase.SWITCHING, {})
            gates = await self.start_there()
            still = (self.clock.monotonic() - stopped) * 1000 if self.move.up else -1.0
            undo.pop_all()
        kept = await self.commit()
        told = _told(kept.until, still, (self.clock.monotonic() - began) * 1000)
        return {**told, "gates": gates}

    async def start_there(self) -> Sequence[GateSeen]:
        """Up on the destination, as much as was up, its gates met. Raises MigrationError NF-MIG-421."""
        if self.move.up:
            await self._run(self.destination, self.there, recreate=True)
            await await_up(self.destination, self.move, self.move.up, HEALTHY)
        return await self.prove()

    async def prove(self) -> Sequence[GateSeen]:
        """Its gates, met on the destination. Raises MigrationError NF-MIG-421."""
        there = self._acting(self.destination)
        try:
            seen = await wait_all(there, replace(as_stack(self.move, there.host.name), runtime=self.move.runs_by))
        except GateError as error:
            raise MigrationError(
                f"{self.move.name} is up on {there.host.name} and not ready there: {error.what}",
                code="NF-MIG-421",
                where=there.host.name,
                cause=error.cause,
                hints=error.hints,
                retry=Retry.AFTER_FIX,
            ) from error
        await self.ends.note(Phase.SWITCHED, {"gates": encode(seen)})
        return seen

    async def commit(self) -> Quarantine:
        """The source lets go. Convergent."""
        await quiet_stack(self.source, self.move.job)
        return await commit_stack(self.ends, self.move, self.clock.now(), self.undo)

    async def back(self) -> None:
        """Nothing of it on the destination, and on the source as before. Convergent."""
        move = self.move
        await quiet_stack(self.source, move.job)
        ours = await read_manifest(self.destination, move.job) is not None
        if ours:  # else containers of that project there are another's
            await self._stop(self.destination, move.runs_by)
        await unprepare_stack(self.destination, move.job)
        up, _ = await containers_up(self.source, move.engine, move.label)
        if up < move.up:
            await self._run(self.source, self.here, recreate=False)
        await self.ends.note(Phase.ROLLED_BACK, {})

    def _acting(self, end: Reached) -> StepContext:
        nothing = Environment("", Location(""))
        facts = HostFacts(end.host.name, self.clock.now())
        return StepContext(end, nothing, facts, self.run_id, "migrate", silent, self.clock.now)

    async def _stop(self, end: Reached, engine: str) -> None:
        """Its containers go, volumes and bundle stay."""
        args = {"project": self.move.project, "engine": engine, "kind": self.move.kind, "volumes": False}
        await actions.stop(self._acting(end), args)

    async def _run(self, end: Reached, runner: Runner, *, recreate: bool) -> None:
        move = self.move
        entry = await self._entry(end, runner)
        stack = Stack(move.name, end.host.name, move.project, move.kind, entry, (), "", source=Location(""))
        command = starter(stack, runner.provider, recreate=recreate)
        done = await end.session.run(command, check=False, timeout=actions.TIMEOUT)
        if not done.ok:
            raise MigrationError(
                f"{move.name} does not start on {end.host.name}",
                code="NF-MIG-421",
                where=end.host.name,
                cause=done.stderr.decode("utf-8", "replace").strip()[-400:],
                hints=(f"{runner.engine} ps -a   # on {end.host.name}",),
                retry=Retry.AFTER_FIX,
            )

    async def _entry(self, end: Reached, runner: Runner) -> str:
        """The bundle's entry, its record saying what runs it here."""
        path = f"{self.move.root}/{bundle.RECORD}"
        known = json.loads(await end.session.pull(path, become=True))
        if known.get("runtime") != runner.engine:
            text = json.dumps({**known, "runtime": runner.engine, "digest": ""}, indent=2).encode()
            await end.session.push(text, path, mode=0o600, become=True)
        entry = str(known.get("entry", ""))
        if entry.startswith("/") or ".." in Path(entry).parts:
            raise NovaFleetError(f"the entry {entry!r} of {path} leads out of the bundle")
        return entry


def runners(name: str, project: str, kind: str, here: HostFacts, there: HostFacts) -> tuple[Runner, Runner]:
    """What runs a stack on its source, and what can on its destination: the same engine, or another. Raises ConfigError
    NF-STK-002."""
    fact = here.stacks.get(project)
    engine = fact.runtime if fact is not None else "auto"
    stack = Stack(name, there.host, project, kind, "", (), "", source=Location(""))
    same = replace(stack, runtime=engine if engine in there.engines else "auto")
    return choose(replace(stack, runtime=engine), here), choose(same, there)


def _told(until: float, still: float, total: float) -> Mapping[str, Any]:
    return {
        "total_ms": round(total, 1),
        "downtime_ms": round(still, 1),
        "downtimes": {"controller": round(still, 1)} if still >= 0 else {},
        "verified": still >= 0,
        "undo_until": until,
    }
