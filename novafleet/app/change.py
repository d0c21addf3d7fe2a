"""``up``, ``down`` and ``resume``: lock, plan, ask, run (``apply.py``), and look whether it is so."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novafleet.app.apply import Applied, apply, assembled
from novafleet.app.context import Emit
from novafleet.app.guard import refuse_unprotected
from novafleet.app.plan import USED, Planned, load, make_plan, refuse_unconsented
from novafleet.app.runs import find
from novafleet.app.wiring import Places, World, open_journal, open_world
from novafleet.errors import ConfigError, ExitCode, FencedError
from novafleet.execute.critical import critical_path, report
from novafleet.execute.lock import environment_lock
from novafleet.execute.resume import INTENT, Prior, assume, prior
from novafleet.model.encode import decode, encode
from novafleet.model.plan import Plan
from novafleet.model.request import EnvironmentRequest
from novafleet.model.run import NodeResult, NodeState, Run, RunState
from novafleet.plan.planfile import is_plan, refuse_stale
from novafleet.plan.planfile import load as load_plan
from novafleet.store.journal import Journal, new_run_id

DECLINED = "declined"
FENCED = FencedError.code


@dataclass(frozen=True, slots=True)
class Conversation:
    """How the caller consents to a plan, watches a run of so many steps, and is told why nothing happens yet."""

    confirm: Callable[[Plan], bool]
    watch: Callable[[int], AbstractContextManager[Emit]]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of it. ``state`` is a RunState or ``declined``; ``run_id`` is empty when nothing had to run."""

    environment: str
    verb: str
    state: str
    exit_code: ExitCode
    seconds: float = 0.0
    run_id: str = ""
    changed: int = 0
    results: tuple[NodeResult, ...] = ()
    critical_path: tuple[str, ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    """Findings about the run as a whole: hosts that another run took over."""
    residue: tuple[str, ...] = ()
    """Addresses that still differ although every step of theirs succeeded."""


@dataclass(frozen=True, slots=True)
class Order:
    """A change as asked for: from an environment file, from a saved plan, or to continue a run."""

    request: EnvironmentRequest
    intent: str
    lock_wait: float = 0.0
    saved: Plan | None = None
    continued: Run | None = None
    assumption: str = ""


async def change_environment(
    request: EnvironmentRequest, intent: str, conversation: Conversation, lock_wait: float = 0.0
) -> Finished:
    """Bring up or take down. ``request.file`` may be a plan file for ``up``. Raises what planning raises,
    LockHeldError, StalePlanError, GuardError; a step that fails does not raise: see ``Finished``."""
    return await _carry_out(_order(request, intent, lock_wait), conversation)


async def resume_run(run_id: str, assumption: str, conversation: Conversation) -> Finished:
    """Continue a run, by default the newest that did not end well: observe and plan again, and look first at what it
    had begun. ``assumption`` (done | retry) is the caller's word for steps nobody can look at."""
    if assumption not in ("", "done", "retry"):
        raise ConfigError(f"--assume takes done or retry, not {assumption!r}", code="NF-RUN-022")
    async with open_journal(Places.of_user()) as journal:
        run = await find(journal, run_id, unfinished=True)
    request = decode(EnvironmentRequest, run.request)
    return await _carry_out(Order(request, run.verb, continued=run, assumption=assumption), conversation)


def _order(request: EnvironmentRequest, intent: str, lock_wait: float) -> Order:
    try:
        text = Path(request.file).read_text()
    except (OSError, UnicodeDecodeError):
        text = ""  # loading the environment says it better
    if not is_plan(text):
        return Order(request, intent, lock_wait)
    if intent != "up":
        raise ConfigError("a saved plan can only be brought up", code="NF-PLAN-013", where=request.file)
    saved, original = load_plan(text, request.file)
    return Order(decode(EnvironmentRequest, original), saved.intent, lock_wait, saved)


async def _carry_out(order: Order, conversation: Conversation) -> Finished:
    inventory = [Path(path) for path in order.request.inventory]
    async with open_world(inventory) as world, open_journal(world.places) as journal:
        name = load(world, order.request).name
        run_id = order.continued.id if order.continued else new_run_id(world.clock.now())
        began = world.clock.monotonic()
        async with environment_lock(world.places.locks, name, run_id, world.clock, wait=order.lock_wait):
            planned = await _agreed(world, order)
            if not conversation.confirm(planned.plan):
                return Finished(name, order.intent, DECLINED, ExitCode.FAILED)
            async with assembled(world, planned, run_id, order.lock_wait, conversation.say) as crew:
                if crew.moved_on(planned):
                    refuse_stale(planned.plan, (await _agreed(world, order)).plan)
                before = await _begin(world, journal, order, planned, run_id)
                with conversation.watch(len(planned.plan.steps)) as emit:
                    applied = await apply(world, journal, planned, crew, before, emit)
            residue = await _residue(world, order, planned, applied)
            finished = _finished(planned, applied, residue, run_id, world.clock.monotonic() - began)
            await journal.finish(run_id, RunState(finished.state), world.clock.now(), _summary(planned, finished))
            return finished


async def _agreed(world: World, order: Order) -> Planned:
    planned = await make_plan(world, order.request, order.intent)
    if order.saved is not None:
        refuse_stale(order.saved, planned.plan)
    refuse_unconsented(planned.plan, order.request.options)
    await refuse_unprotected(planned, world.clock.now())
    return planned


async def _begin(world: World, journal: Journal, order: Order, planned: Planned, run_id: str) -> Prior:
    """Write the run's header; what an earlier controller left of it, when it is continued."""
    holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
    if order.continued is None:
        now, request, name = world.clock.now(), encode(order.request), planned.environment.name
        for killed in await journal.unfinished(name):  # we hold the lock: nobody runs it any more
            await journal.finish(killed.id, RunState.FAILED, now, {**killed.summary, "superseded_by": run_id})
        header = Run(run_id, name, order.intent, RunState.RUNNING, now, 0.0, holder, request, _hosts(planned))
        await journal.begin(header)
        return {}
    await journal.reopen(run_id, holder)
    before = prior(await journal.records(run_id))
    if not order.assumption:
        return before
    doubtful = [node for node, record in before.items() if record.kind == INTENT]
    return assume(before, doubtful, done=order.assumption == "done")


def _hosts(planned: Planned) -> dict[str, object]:
    return {USED: sorted({change.host for change in planned.plan.changes})}


async def _residue(world: World, order: Order, planned: Planned, applied: Applied) -> tuple[str, ...]:
    """Plan again after a run that changed something: what still differs although all its steps succeeded."""
    if not planned.plan.changed or applied.cancelled:
        return ()
    troubled = {result.resource for result in applied.results if result.state is not NodeState.DONE}
    meant = {change.address for change in planned.plan.changed} - troubled
    fresh = await make_plan(world, order.request, order.intent)
    return tuple(change.address for change in fresh.plan.changed if change.address in meant)


def _finished(planned: Planned, applied: Applied, residue: tuple[str, ...], run_id: str, seconds: float) -> Finished:
    plan = planned.plan
    status = exit_code(applied, residue, plan.unreachable)
    states = {ExitCode.OK: RunState.DONE, ExitCode.INTERRUPTED: RunState.CANCELLED}
    return Finished(
        environment=plan.environment,
        verb=plan.intent,
        state=states.get(status, RunState.FAILED).value,
        exit_code=status,
        seconds=seconds,
        run_id=run_id,
        changed=len(plan.changed),
        results=applied.results,
        critical_path=report(critical_path(plan.steps, applied.results)),
        errors=tuple(error.finding() for error in applied.fenced),
        residue=residue,
    )


def exit_code(applied: Applied, residue: tuple[str, ...], unreachable: Collection[str]) -> ExitCode:
    """The status of a run (docs/reference/exit-codes.md); ``unreachable`` hosts could not even be observed."""
    failed = [(result.host, str(result.error["code"])) for result in applied.results if result.error]
    if applied.fenced or any(code == FENCED for _, code in failed):
        return ExitCode.LOCK_HELD
    if applied.cancelled:
        return ExitCode.INTERRUPTED
    if residue or any(not code.startswith("NF-SSH") and host not in unreachable for host, code in failed):
        return ExitCode.FAILED
    if not failed and not unreachable:
        return ExitCode.OK
    anything = any(result.state is NodeState.DONE for result in applied.results)
    return ExitCode.PARTIAL if anything else ExitCode.UNREACHABLE


def _summary(planned: Planned, finished: Finished) -> dict[str, object]:
    return {
        **_hosts(planned),
        "changed": finished.changed,
        "seconds": round(finished.seconds, 3),
        "critical_path": list(finished.critical_path),
        "residue": list(finished.residue),
    }
