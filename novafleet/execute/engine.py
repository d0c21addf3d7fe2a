"""Runs a DAG of steps: intent before the effect, outcome after it, both durable (docs/concepts/engine.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from novafleet.errors import DeadlineError, FencedError, NovaFleetError
from novafleet.execute import retry
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.resume import DONE, INTENT, Prior
from novafleet.execute.schedule import Limits, Schedule
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Event, NodeResult, NodeState, Record
from novafleet.ports import ActionContext, Clock, Journal, Outcome, Registry

Emit = Callable[[Event], None]
LOOKED_AT = (StepClass.PROBED, StepClass.ATTACHED)


def silent(_event: Event) -> None:
    """Nobody listens."""


def no_lease(_host: str) -> int:
    """The epoch of a run that holds no lease."""
    return 0


@dataclass(frozen=True, slots=True)
class Engine:
    """What running steps takes. ``context`` makes what a step may use and may raise for a host that is gone;
    ``epoch`` answers the lease's epoch of a host, for the journal."""

    registry: Registry
    context: Callable[[Step], ActionContext]
    journal: Journal
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    emit: Emit = silent
    epoch: Callable[[str], int] = no_lease

    async def run(
        self,
        run_id: str,
        steps: Sequence[Step],
        *,
        cancellation: Cancellation | None = None,
        prior: Prior | None = None,
    ) -> tuple[NodeResult, ...]:
        """Run every step whose predecessors succeeded; one result per step, in the order of ``steps``.

        ``prior`` (``resume.prior``) is what an interrupted run left: probed and attached steps are looked at first,
        ``once`` steps are not repeated and end ``unknown``. A failed step never raises: its descendants are skipped
        and the rest goes on. Raises what the journal raises, having cancelled what ran: the same as a crash;
        ConfigError NF-CFG-040 for a cycle; NovaFleetError NF-RUN-001 for an action nobody registered.
        """
        _check_actions(steps, self.registry)
        execution = _Execution(self, run_id, steps, cancellation or Cancellation(), prior or {})
        return await execution.run()


class _Execution:
    """One run under way."""

    def __init__(
        self, engine: Engine, run_id: str, steps: Sequence[Step], cancellation: Cancellation, prior: Prior
    ) -> None:
        self._engine = engine
        self._run_id = run_id
        self._steps = steps
        self._cancellation = cancellation
        self._prior = prior
        self._schedule = Schedule(steps, engine.limits)
        self._results: dict[str, NodeResult] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._began = engine.clock.monotonic()

    async def run(self) -> tuple[NodeResult, ...]:
        self._emit("run_started", total=len(self._steps))
        with self._cancellation.listening(self._stage_changed):
            self._stage_changed()
            await self._run_all()
        await self._leave_out(self._schedule.unstarted(), NodeState.CANCELLED, self._cancellation.because)
        self._emit("run_ended", done=len(self._results), total=len(self._steps))
        return tuple(self._results[step.id] for step in self._steps)

    async def _run_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                self._fill()
        except BaseExceptionGroup as group:
            _raise_first(group)

    def _fill(self) -> None:
        while self._cancellation.stage is Stage.RUN and (step := self._schedule.next()) is not None:
            self._tasks[step.id] = self._group.create_task(self._settle(step))

    def _stage_changed(self) -> None:
        if self._cancellation.stage is not Stage.RUN:
            self._stopping.set()
        if self._cancellation.stage is Stage.ABORT:
            for task in self._tasks.values():
                if task is not asyncio.current_task():
                    task.cancel()

    async def _settle(self, step: Step) -> None:
        started = self._elapsed()
        self._emit("step_started", step)
        try:
            await self._perform(step, started)
        except asyncio.CancelledError:
            # The intent stays without an outcome, as after a crash: a resume finds out.
            if step.id not in self._results:
                self._conclude(step, NodeState.CANCELLED, started, because=self._cancellation.because)
            raise
        del self._tasks[step.id]
        self._fill()

    async def _perform(self, step: Step, started: float) -> None:
        last = self._prior.get(step.id)
        if last is not None and step.step_class is StepClass.ONCE and last.kind == DONE:
            self._succeed(step, started, last.attempt, last.payload.get("outcome", {}), "was done before")
        elif last is not None and step.step_class is StepClass.ONCE and last.kind == INTENT:
            await self._give_up(step, started, last.attempt, _unknown(step))
        else:
            await self._attempts(step, started, last)

    async def _attempts(self, step: Step, started: float, last: Record | None) -> None:
        first = attempt = last.attempt + 1 if last else 1
        records = self._intent(step, attempt)
        while True:
            await self._engine.journal.append(records)
            try:
                outcome = await self._act(step, look=attempt > 1)
            except NovaFleetError as error:
                failures = attempt - first + 1
                if not await self._may_retry(step, error, failures):
                    return await self._give_up(step, started, attempt, error)
                records = [self._record(step, "failed", attempt, _failure(error)), *self._intent(step, attempt + 1)]
                attempt += 1
            else:
                payload = {"outcome": dict(outcome)} if outcome else {}
                await self._engine.journal.append([self._record(step, DONE, attempt, payload)])
                return self._succeed(step, started, attempt, outcome)

    async def _act(self, step: Step, *, look: bool) -> Outcome:
        action = self._engine.registry[step.action]
        context = self._engine.context(step)
        try:
            async with asyncio.timeout(step.timeout or None):
                if look and action.probe is not None and step.step_class in LOOKED_AT:
                    found = await action.probe(context, step.args)
                    if found is not None:
                        return found
                return await action.do(context, step.args)
        except TimeoutError as error:
            raise _too_long(step) from error

    async def _may_retry(self, step: Step, error: NovaFleetError, failures: int) -> bool:
        if isinstance(error, FencedError):
            self._cancellation.request(str(error), Stage.ABORT)
        pause = retry.pause(step, error, failures)
        if pause is None:
            return False
        self._emit("step_retry", step, text=f"again in {pause:g} s: {error}", error=error.finding())
        await self._pause(pause)
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._engine.clock.sleep(seconds)), group.create_task(self._stop_requested())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()

    async def _stop_requested(self) -> None:
        await self._stopping.wait()

    def _succeed(self, step: Step, started: float, attempt: int, outcome: Outcome, text: str = "") -> None:
        self._schedule.succeeded(step)
        self._conclude(step, NodeState.DONE, started, attempts=attempt, outcome=dict(outcome))
        self._emit("step_done", step, text=text)

    async def _give_up(self, step: Step, started: float, attempt: int, error: NovaFleetError) -> None:
        unknown = retry.outcome_unknown(step, error)
        if not unknown:
            await self._engine.journal.append([self._record(step, "failed", attempt, _failure(error))])
        state = NodeState.UNKNOWN if unknown else NodeState.FAILED
        self._conclude(step, state, started, attempts=attempt, error=error.finding())
        self._emit("step_failed", step, text=str(error), error=error.finding())
        because = f"{step.id} on {step.host} {'may have failed' if unknown else 'failed'}: {error.what}"
        await self._leave_out(self._schedule.failed(step), NodeState.SKIPPED, because)

    async def _leave_out(self, steps: Sequence[Step], state: NodeState, because: str) -> None:
        if not steps:
            return
        for step in steps:
            self._conclude(step, state, self._elapsed(), attempts=0, because=because)
            self._emit("step_skipped", step, text=because)
        await self._engine.journal.append([self._record(step, state.value, 0, {"because": because}) for step in steps])

    def _conclude(self, step: Step, state: NodeState, started: float, **details: Any) -> None:
        self._results[step.id] = NodeResult(
            step.id, step.resource, step.host, state, started, self._elapsed(), label=step.label, **details
        )

    def _intent(self, step: Step, attempt: int) -> list[Record]:
        return [self._record(step, INTENT, attempt, {"action": step.action})]

    def _record(self, step: Step, kind: str, attempt: int, payload: Mapping[str, Any]) -> Record:
        epoch = self._engine.epoch(step.host)
        return Record(self._run_id, step.id, attempt, kind, epoch, self._engine.clock.now(), payload)

    def _elapsed(self) -> float:
        return self._engine.clock.monotonic() - self._began

    def _emit(self, kind: str, step: Step | None = None, **details: Any) -> None:
        place = (step.id, step.resource, step.host) if step else ("", "", "")
        self._engine.emit(Event(kind, self._engine.clock.now(), self._run_id, *place, **details))


def _failure(error: NovaFleetError) -> Mapping[str, Any]:
    return {"error": error.finding()}


def _check_actions(steps: Iterable[Step], registry: Registry) -> None:
    for step in steps:
        if step.action not in registry:
            raise NovaFleetError(f"no action is called {step.action}", code="NF-RUN-001", where=step.id)


def _too_long(step: Step) -> DeadlineError:
    return DeadlineError(
        f"{step.label or step.id.rpartition('/')[2]} took longer than {step.timeout:g} s",
        code="NF-RUN-002",
        where=f"{step.host} {step.id}",
        hints=("novafleet resume   # continues; what was done is kept",),
    )


def _unknown(step: Step) -> NovaFleetError:
    return DeadlineError(
        "the run was interrupted while this was done, and nothing on the host tells whether it happened",
        code="NF-RUN-003",
        where=f"{step.host} {step.id}",
        hints=(
            "novafleet resume --assume done    # you looked: it happened",
            "novafleet resume --assume retry   # it did not, or may happen twice",
        ),
    )


def _raise_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Many steps meet the same broken journal: one error says it."""
    ours, foreign = group.split(NovaFleetError)
    if ours is None or foreign is not None:
        raise group
    found: BaseException = ours
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    raise found from group
