"""``schedule install|ls|rm``: timers of this controller for what backup policies ask for. No host is contacted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

from novafleet import xdg
from novafleet.app.wiring import Places
from novafleet.errors import ConfigError, ScheduleError
from novafleet.inventory import load_fleet
from novafleet.model import address
from novafleet.model.policy import Policy, Window
from novafleet.model.request import EnvironmentRequest
from novafleet.model.schedule import MOST_MISSED, Job, RunState, Schedule, ScheduledRun
from novafleet.playbook import load_environment
from novafleet.playbook.jobs import jobs_of, jobs_of_inventory
from novafleet.playbook.policy import expression
from novafleet.source import cron
from novafleet.store.schedules import Schedules
from novafleet.timer import crontab
from novafleet.timer.systemd import Systemd
from novafleet.timer.unit import Task

DELAY = 600
"""Seconds a start may be put off at random, at most."""
ENOUGH = 10_000
"""Moments looked at for missed ones."""
AHEAD = 86400.0
"""Seconds a run may be dated ahead of the clock and still count."""
GRACE = 900.0
"""Seconds after which a run that did not begin counts as missed."""
INHERITED = ("XDG_STATE_HOME", "XDG_CONFIG_HOME")
"""Variables that say where this controller's state is: a timer has none of the shell's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs that a file asks for; ``environment`` and ``claims`` (``ENV/NAME``: all its VMs and stacks) of an
    environment's."""

    jobs: tuple[Job, ...]
    environment: str = ""
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed now, what was removed because nothing asks for it any more, what a person should know."""

    schedules: tuple[Schedule, ...]
    removed: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A schedule as it stands. ``timer`` is active, inactive …; ``next`` a moment, by the controller's calendar;
    ``overdue``: moments at which nothing happened since the last run."""

    schedule: Schedule
    timer: str
    next: float
    last: ScheduledRun | None
    overdue: tuple[float, ...]


def install(
    request: EnvironmentRequest | None, inventory: Sequence[Path], places: Places, now: float, *, use_cron: bool
) -> Installed:
    """Install the jobs of an environment file, or without one those of the inventory; take away what they do not ask
    for any more. Raises ConfigError NF-SCHED-002, -008, what is wrong with the files, ScheduleError NF-SCHED-003,
    -004."""
    asked, memory = jobs(request, inventory), Schedules.of(places.state)
    names = {job.name for job in asked.jobs}
    gone = [each for each in memory.all() if _of_file(each, request, inventory) and each.name not in names]
    if not asked.jobs and not gone:
        where = request.file if request else ", ".join(str(path) for path in inventory)
        hints = ("add schedule: daily to the backup policy",)
        raise ConfigError("no backup policy has a schedule", code="NF-SCHED-002", where=where, hints=hints)
    timers = None if use_cron or not asked.jobs else Systemd.here()
    made = tuple(_schedule(job, asked, request, inventory, now, use_cron=use_cron) for job in asked.jobs)
    _refuse_taken(memory, made)
    notices: tuple[str, ...] = ()
    for schedule, job in zip(made, asked.jobs, strict=True):
        notices = _put(memory, schedule, job, timers)
    for each in gone:
        _stop(each)
        memory.remove(each.name)
    return Installed(made, tuple(each.name for each in gone), notices)


def _refuse_taken(memory: Schedules, made: Sequence[Schedule]) -> None:
    """A schedule of another environment, or of other inventories, does not go because its name is wanted."""
    for schedule in made:
        before = memory.get(schedule.name)
        if before is None or (
            before.environment == schedule.environment
            and (schedule.environment or set(before.inventory) & set(schedule.inventory))
        ):
            continue
        raise ConfigError(
            f"there is a schedule {schedule.name} already, of something else",
            code="NF-SCHED-008",
            where=schedule.file or schedule.inventory[0],
            cause=f"it is of {before.file or ', '.join(before.inventory)}",
            hints=(f"novafleet schedule rm {schedule.name}   # if that is not needed any more",),
        )


def _put(memory: Schedules, schedule: Schedule, job: Job, timers: Systemd | None) -> tuple[str, ...]:
    """Remember it and start its timer; when that cannot be started, what is remembered stays as it was."""
    before = memory.get(schedule.name)
    memory.put(schedule)
    try:
        notices = _start(schedule, job, timers)
    except ScheduleError:
        if before is None:
            memory.remove(schedule.name)
        else:
            memory.put(before)
        raise
    if before is not None and before.timer != schedule.timer:
        _stop(before)
    return notices


def ls(places: Places, now: float) -> tuple[Listed, ...]:
    """Every schedule of this controller and user. Raises ScheduleError NF-SCHED-004, -007."""
    memory = Schedules.of(places.state)
    schedules = memory.all()
    states = _states(schedules)
    return tuple(
        Listed(
            each,
            states.get(each.name, "absent"),
            cron.following(each.expression, cron.local(now)).timestamp(),
            next(past(memory, each.name, now), None),
            missed(memory, each, now - GRACE),
        )
        for each in schedules
    )


def rm(name: str, places: Places) -> Schedule:
    """Remove a schedule with its timer and its history; backups stay. Raises ConfigError NF-SCHED-001."""
    memory = Schedules.of(places.state)
    schedule = known(memory, name)
    _stop(schedule)
    memory.remove(name)
    return schedule


def known(memory: Schedules, name: str) -> Schedule:
    """A schedule by its name. Raises ConfigError NF-SCHED-001."""
    schedule = memory.get(name)
    if schedule is None:
        raise ConfigError(f"there is no schedule {name!r}", code="NF-SCHED-001", hints=("novafleet schedule ls",))
    return schedule


def missed(memory: Schedules, schedule: Schedule, now: float) -> tuple[float, ...]:
    """The moments since the last run began (or since it was installed) at which there should have been one, the
    oldest first; the newest of them is the one that ``schedule run`` makes up for."""
    runs = past(memory, schedule.name, now)
    done = next((each for each in runs if each.state is not RunState.SKIPPED), None)
    since = max(done.started if done else 0.0, schedule.installed)
    moments = islice(cron.between(schedule.expression, cron.local(since), cron.local(now)), ENOUGH)
    return tuple(each.timestamp() for each in moments if within(schedule.window, each))[-MOST_MISSED:]


def past(memory: Schedules, name: str, now: float) -> Iterator[ScheduledRun]:
    """Its runs, newest first, without those of a clock that was far ahead: they would be the last ones for years."""
    return (run for run in memory.runs(name) if run.started < now + AHEAD)


def within(window: Window | None, moment: datetime) -> bool:
    """May a backup start then?"""
    return window is None or window.holds(moment.hour * 60 + moment.minute)


def jobs(request: EnvironmentRequest | None, inventory: Sequence[Path]) -> Asked:
    """What an environment file, or the inventory alone, asks for. Raises ConfigError(s)."""
    fleet = load_fleet(inventory)
    if request is None:
        return Asked(jobs_of_inventory(fleet))
    environment = load_environment(
        Path(request.file),
        fleet=fleet,
        overrides=request.variables,
        var_files=tuple(Path(path) for path in request.variable_files),
        env=os.environ,
    )
    claims = tuple(f"{environment.name}/{name}" for name in (*environment.vms, *map(address.stack, environment.stacks)))
    return Asked(jobs_of(environment, fleet), environment.name, claims)


def request_of(schedule: Schedule) -> EnvironmentRequest | None:
    """The request that makes the same jobs again; None for the inventory's own."""
    if not schedule.file:
        return None
    return EnvironmentRequest(
        schedule.file, schedule.inventory, schedule.variables, variable_files=schedule.variable_files
    )


def _schedule(
    job: Job,
    asked: Asked,
    request: EnvironmentRequest | None,
    inventory: Sequence[Path],
    now: float,
    *,
    use_cron: bool,
) -> Schedule:
    return Schedule(
        name=job.name,
        inventory=tuple(str(path) for path in inventory),
        expression=expression(job.policy),
        timer="cron" if use_cron else "systemd",
        installed=now,
        file=request.file if request else "",
        environment=asked.environment,
        claims=asked.claims,
        variables=request.variables if request else {},
        variable_files=request.variable_files if request else (),
        window=job.policy.window,
        notify=job.policy.notify,
    )


def _of_file(schedule: Schedule, request: EnvironmentRequest | None, inventory: Sequence[Path]) -> bool:
    if request is not None:
        return schedule.file == request.file
    return not schedule.file and schedule.inventory == tuple(str(path) for path in inventory)


def _start(schedule: Schedule, job: Job, timers: Systemd | None) -> tuple[str, ...]:
    task = _task(schedule, job, system=timers.system if timers else False)
    if timers is not None:
        return timers.install(task)
    variables = tuple(f"{key}={value}" for key, value in task.environment.items())
    prefix = ("env", *variables) if variables else ()
    crontab.install(schedule.name, schedule.expression, (*prefix, *task.run), (*prefix, *task.settle))
    return ("cron does not make up for runs missed while the machine was off: schedule ls shows them",)


def _stop(schedule: Schedule) -> None:
    if schedule.timer == "cron":
        crontab.remove(schedule.name)
    else:
        Systemd.here().remove(schedule.name)


def _states(schedules: Sequence[Schedule]) -> dict[str, str]:
    with_systemd = [each.name for each in schedules if each.timer == "systemd"]
    found = dict(Systemd.here().states(with_systemd)) if with_systemd else {}
    for each in schedules:
        if each.timer == "cron":
            found[each.name] = "active" if crontab.installed(each.name) else "absent"
    return found


def _task(schedule: Schedule, job: Job, *, system: bool) -> Task:
    program = (sys.executable, "-P", "-m", "novafleet", "schedule")
    return Task(
        name=schedule.name,
        description=f"NovaFleet schedule {schedule.name}",
        run=(*program, "run", schedule.name),
        settle=(*program, "settle", schedule.name),
        calendar=cron.on_calendar(schedule.expression),
        delay=_delay(schedule),
        environment={name: os.environ[name] for name in INHERITED if name in os.environ},
        secrets=str((Path("/etc") if system else xdg.config()) / "novafleet/schedule.env"),
        credentials=dict(_credentials(job.policy, system=system)),
    )


def _delay(schedule: Schedule) -> int:
    """At most a quarter of the time between two runs, and of what is left of the window when one is due."""
    start = cron.local(schedule.installed)
    moments = list(islice(cron.between(schedule.expression, start, start + timedelta(days=3660)), 100))
    bounds = [(after - before).total_seconds() for before, after in pairwise(moments)]
    window = schedule.window
    if window is not None:
        due = [each.hour * 60 + each.minute for each in moments if within(window, each)]
        bounds += [(window.end - minute) % 1440 * 60 for minute in due]
    return int(min([DELAY, *(bound / 4 for bound in bounds)]))


def _credentials(policy: Policy, *, system: bool) -> dict[str, str]:
    """systemd credentials that a policy's references name, and where they are put."""
    folder = "/etc/credstore.encrypted" if system else str(xdg.config() / "credstore")
    notify = policy.notify
    references = [policy.passphrase, *(notify.apprise if notify else ())]
    references += [notify.email.password] if notify and notify.email else []
    references += [notify.webhook.secret] if notify and notify.webhook else []
    names = [name for kind, _, name in (each.partition(":") for each in references) if kind == "credential"]
    return {name: f"{folder}/{name}" for name in names}
