"""``schedule run``: back up by policy, forget, verify, drill when due, and tell people. One at a time per schedule."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from novafleet.app.schedule import jobs, known, missed, past, request_of, within
from novafleet.app.wiring import Places
from novafleet.errors import ConfigError, ConfigErrors, ExitCode, LockHeldError, NovaFleetError, ScheduleError
from novafleet.execute.lock import environment_lock
from novafleet.model.encode import encode
from novafleet.model.policy import Notify, Policy
from novafleet.model.schedule import Duty, Job, RunState, Schedule, ScheduledRun, VmOutcome
from novafleet.notify.message import Message
from novafleet.notify.send import send
from novafleet.playbook.policy import expression
from novafleet.ports import Clock
from novafleet.render.schedule import first_line, headline, lines
from novafleet.source import cron
from novafleet.store.schedules import Schedules

UNREACHABLE = "NF-SSH-"
PRUNE_EVERY = 20 * 3600.0
"""Seconds between two collections of garbage: however often backups are made, one a day is enough."""


class Duties(Protocol):
    """The parts of a run. Each raises its own NovaFleetError when nothing of it could be done; a VM that failed is an
    outcome."""

    async def back_up(self, schedule: Schedule, job: Job, claimed: Collection[str]) -> tuple[VmOutcome, ...]:
        """Every member of a job; VMs ``claimed`` by other schedules (``ENV/NAME``) are not taken with their host."""

    async def forget(self, job: Job, claimed: Collection[str]) -> Duty:
        """Forget by each VM's ``keep``."""

    async def prune(self, job: Job) -> Duty:
        """Collect what no snapshot needs any more."""

    async def verify(self, job: Job) -> Duty:
        """Read and check the job's share of the repository."""

    async def drill(self, schedule: Schedule, job: Job, vms: Collection[VmOutcome]) -> Duty:
        """Boot what was backed up, to prove it."""


async def run(name: str, duties: Duties, places: Places, clock: Clock) -> ScheduledRun:
    """Do what a schedule is for, now. Nothing that goes wrong with it raises: it is in the result, which is kept
    and told. Raises ConfigError NF-SCHED-001 for an unknown name, LockHeldError while another run of it goes on."""
    memory = Schedules.of(places.state)
    schedule = known(memory, name)
    async with _alone(places, name, clock):
        await _settle(memory, schedule, clock)
        late = missed(memory, schedule, clock.now())
        began = _begun(schedule, late[:-1], clock)
        memory.record(began)
        try:
            ended = await _ran(schedule, began, duties, memory, clock)
            if ended.state is RunState.SKIPPED:
                ended = replace(ended, missed=late)
        except asyncio.CancelledError:
            memory.record(_closed(replace(began, exit_code=ExitCode.INTERRUPTED), RunState.FAILED, clock))
            raise
        memory.record(ended)
        told = await _told(ended, known(memory, name).notify, clock)
        memory.record(told)
        return told


async def settle(name: str, places: Places, clock: Clock) -> ScheduledRun | None:
    """After a run's process is gone: a run that is still marked as running was killed. It is marked and told so, and
    returned. None when there is nothing to settle, or when a run is going on."""
    memory = Schedules.of(places.state)
    schedule = known(memory, name)
    try:
        async with _alone(places, name, clock):
            return await _settle(memory, schedule, clock)
    except LockHeldError:
        return None


@asynccontextmanager
async def _alone(places: Places, name: str, clock: Clock) -> AsyncIterator[None]:
    try:
        async with environment_lock(places.locks, f"schedule {name}", name, clock):
            yield
    except LockHeldError as held:
        if held.where != f"schedule {name}":
            raise
        what, hints = f"schedule {name} is running already", (f"novafleet schedule ls   # how it goes with {name}",)
        raise LockHeldError(what, where=name, cause=held.what, hints=hints) from held


async def _settle(memory: Schedules, schedule: Schedule, clock: Clock) -> ScheduledRun | None:
    last = next(past(memory, schedule.name, clock.now()), None)
    if last is None or last.state is not RunState.RUNNING:
        return None
    hint = f"novafleet schedule run {schedule.name}"
    what = "the run was killed; what it had committed is whole"
    error = ScheduleError(what, code="NF-SCHED-005", where=schedule.name, hints=(hint,))
    died = replace(last, exit_code=ExitCode.FAILED, errors=(*last.errors, error.finding()))
    told = await _told(_closed(died, RunState.DIED, clock), schedule.notify, clock)
    memory.record(told)
    return told


def _begun(schedule: Schedule, late: tuple[float, ...], clock: Clock) -> ScheduledRun:
    now = clock.now()
    stamp = f"{cron.local(now).astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    return ScheduledRun(schedule.name, stamp, now, missed=late)


async def _ran(
    schedule: Schedule, began: ScheduledRun, duties: Duties, memory: Schedules, clock: Clock
) -> ScheduledRun:
    try:
        job = _job(schedule, memory)
    except ConfigError as error:
        failed = replace(began, exit_code=ExitCode.USAGE, errors=tuple(findings(error)))
        return _closed(failed, RunState.FAILED, clock)
    if not within(job.policy.window, cron.local(clock.now())):
        return _closed(began, RunState.SKIPPED, clock)
    claimed = {vm for other in memory.all() if other.name != schedule.name for vm in other.claims}
    try:
        vms = await duties.back_up(schedule, job, claimed)
    except NovaFleetError as error:
        failed = replace(began, exit_code=error.exit_code, errors=tuple(findings(error)))
        return _closed(replace(failed, repository=job.policy.repository), RunState.FAILED, clock)
    done = tuple([await each for each in _due(schedule, job, vms, claimed, duties, memory, clock)])
    status = exit_code(vms, done)
    ran = replace(began, vms=vms, duties=done, exit_code=status, repository=job.policy.repository)
    return _closed(ran, RunState.FAILED if status else RunState.DONE, clock)


def _job(schedule: Schedule, memory: Schedules) -> Job:
    """The job as its file has it now. Raises ConfigError NF-SCHED-006, or what is wrong with the file."""
    found = {job.name: job for job in jobs(request_of(schedule), [Path(path) for path in schedule.inventory]).jobs}
    job = found.get(schedule.name)
    if job is None:
        raise ConfigError(
            f"the policy of schedule {schedule.name} is gone",
            code="NF-SCHED-006",
            where=schedule.file or schedule.inventory[0],
            hints=("install again: novafleet schedule install", f"novafleet schedule rm {schedule.name}"),
        )
    policy = job.policy
    memory.put(replace(schedule, notify=policy.notify, window=policy.window, expression=expression(policy)))
    return job


def _due(
    schedule: Schedule,
    job: Job,
    vms: Collection[VmOutcome],
    claimed: Collection[str],
    duties: Duties,
    memory: Schedules,
    clock: Clock,
) -> Iterable[Coroutine[Any, Any, Duty]]:
    policy = job.policy
    if any(_keeps(member.policy) for member in job.members):
        yield _duty("forget", duties.forget(job, claimed))
        if _last(memory, schedule, "prune", clock) < clock.now() - PRUNE_EVERY:
            yield _duty("prune", duties.prune(job))
    if policy.verify:
        yield _duty("verify", duties.verify(job))
    if policy.drill and _last(memory, schedule, "drill", clock) < _drill_due(policy, clock.now()):
        yield _duty("drill", duties.drill(schedule, job, vms))


def _keeps(policy: Policy) -> bool:
    return policy.keep != Policy().keep


def _last(memory: Schedules, schedule: Schedule, kind: str, clock: Clock) -> float:
    """When a duty was last done well; 0: never."""
    runs = past(memory, schedule.name, clock.now())
    good = (run for run in runs if any(d.kind == kind and not d.error for d in run.duties))
    run = next(good, None)
    return run.started if run is not None else 0.0


def _drill_due(policy: Policy, now: float) -> float:
    """The last moment at which there should have been one."""
    return cron.preceding(cron.ALIASES.get(policy.drill, policy.drill), cron.local(now)).timestamp()


async def _duty(kind: str, work: Coroutine[Any, Any, Duty]) -> Duty:
    try:
        return await work
    except NovaFleetError as error:
        return Duty(kind, "failed", next(iter(findings(error))))


def findings(error: NovaFleetError) -> Iterable[Mapping[str, Any]]:
    """Every finding of an error, without the lines of files it shows: findings are sent to others."""
    each = error.errors if isinstance(error, ConfigErrors) else (error,)
    return [{**one.finding(), "cause": first_line(one.cause)} for one in each]


def exit_code(vms: Collection[VmOutcome], duties: Iterable[Duty]) -> ExitCode:
    """The status of a run (docs/reference/exit-codes.md)."""
    codes = [str(vm.error["code"]) for vm in vms if vm.error]
    if any(duty.error for duty in duties) or any(not code.startswith(UNREACHABLE) for code in codes):
        return ExitCode.FAILED
    if not codes:
        return ExitCode.OK
    return ExitCode.PARTIAL if len(codes) < len(vms) else ExitCode.UNREACHABLE


def _closed(run: ScheduledRun, state: RunState, clock: Clock) -> ScheduledRun:
    return replace(run, state=state, ended=clock.now())


async def _told(run: ScheduledRun, notify: Notify | None, clock: Clock) -> ScheduledRun:
    """Tell whom the policy names, if it is of interest to them. What could not be told makes a good run a failed one:
    nobody would know the next time either."""
    events = [event for event in _events(run) if notify is not None and event in notify.on]
    if notify is None or not events:
        return run
    told: list[str] = []
    for whom, error in await send(notify, message(run, events[0]), clock):
        told.append(f"{whom}: {error.code} {error}" if error else whom)
        run = run if error is None else replace(run, exit_code=run.exit_code or ExitCode.FAILED)
    return replace(run, told=tuple(told))


def _events(run: ScheduledRun) -> Iterable[str]:
    if run.state is not RunState.SKIPPED:
        yield "success" if run.state is RunState.DONE else "failure"
    if run.missed:
        yield "missed"


def message(run: ScheduledRun, event: str) -> Message:
    """What is said of a run."""
    text = "\n".join(lines(run, cron.zone())) + "\n"
    subject = f"[novafleet] {headline(run)}"
    return Message(event, subject, text, {"schedule": run.schedule, "text": text, "run": encode(run)}, run.ended)
