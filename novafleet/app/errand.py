"""One thing to do on a host, as a run of a single step: journalled, under a lease, stopped by Ctrl-C."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, cast

from novafleet.app.context import Emit, Reached, StepContext
from novafleet.app.wiring import World, open_journal
from novafleet.errors import ExitCode, Location
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.nested import hold_one
from novafleet.execute.schedule import Limits
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Event, NodeResult, NodeState, Run, RunState
from novafleet.ports import Action, ActionContext, Json, Outcome
from novafleet.store.journal import Journal

A_DAY = 86400.0

Watch = Callable[[int], AbstractContextManager[Emit]]
Work = Callable[[ActionContext], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to do to ``name`` on the host of ``facts``, under the lease ``scope``; ``header`` is the journal's."""

    world: World
    reached: Reached
    facts: HostFacts
    run_id: str
    verb: str
    name: str
    scope: str
    header: Mapping[str, Any]
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: ``state`` done | failed | cancelled."""

    state: str
    outcome: Mapping[str, Any]
    seconds: float
    error: Mapping[str, Any] | None


async def carry_out(errand: Errand, work: Work, watch: Watch) -> Ended:
    """Do it. A failure does not raise."""
    world, run_id = errand.world, errand.run_id
    holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
    begun = Run(run_id, "", errand.verb, RunState.RUNNING, world.clock.now(), 0.0, holder, errand.header)
    async with open_journal(world.places) as journal:
        await journal.begin(begun)
        with watch(1) as emit:
            result, cancelled = await _step(errand, work, journal, emit)
        done = result.state is NodeState.DONE
        state = RunState.DONE if done else RunState.CANCELLED if cancelled else RunState.FAILED
        await journal.finish(run_id, state, world.clock.now(), {"vm": errand.name})
    word = "done" if done else "cancelled" if cancelled else "failed"
    return Ended(word, result.outcome, result.ended - result.started, result.error)


async def _step(errand: Errand, work: Work, journal: Journal, emit: Emit) -> tuple[NodeResult, bool]:
    clock, host, verb = errand.world.clock, errand.facts.host, errand.verb
    resource = f"{host}/{errand.name}"
    step = Step(
        id=f"{resource}/{verb}",
        action=f"{verb}.vm",
        resource=resource,
        host=host,
        step_class=StepClass.CONVERGENT,
        args={},
        timeout=A_DAY,
        retries=1,
        label=verb,
    )

    def context(_step: Step) -> ActionContext:
        nothing = Environment("", Location(""))
        return StepContext(errand.reached, nothing, errand.facts, errand.run_id, step.id, emit, clock.now)

    async def act(ctx: ActionContext, _args: Mapping[str, Json]) -> Outcome:
        return await _leased(errand, ctx, work)

    actions = {step.action: Action(act, StepClass.CONVERGENT)}
    engine = Engine(actions, context, journal, clock, Limits(1, 1), emit=emit)
    cancellation = Cancellation()
    with cancellation.signals(lambda _stage: emit(Event("notice", clock.now(), errand.run_id, text="stopping"))):
        results = await engine.run(errand.run_id, [step], cancellation=cancellation)
    return results[0], cancellation.stage is not Stage.RUN


async def _leased(errand: Errand, ctx: ActionContext, work: Work) -> Outcome:
    session, clock = errand.reached.session, errand.world.clock
    async with hold_one(session, errand.scope, errand.run_id, clock, wait=errand.lock_wait) as lease:
        reached = Reached(errand.reached.host, fence(session, lease), fence_hypervisor(ctx.hypervisor, lease))
        return await work(replace(cast("StepContext", ctx), reached=reached))


def exit_code_of(state: str, error: Mapping[str, Any] | None) -> ExitCode:
    """Of an errand that ended done | failed | cancelled | declined: 0, 1, 4 for a host that was lost, 6 for what
    another run works on, 130 interrupted."""
    if state in ("done", "declined"):
        return ExitCode.OK
    if state == "cancelled":
        return ExitCode.INTERRUPTED
    code = str((error or {}).get("code", ""))
    if code.startswith("NF-SSH-"):
        return ExitCode.UNREACHABLE
    return ExitCode.LOCK_HELD if code.startswith("NF-LOCK-") else ExitCode.FAILED
