"""``schedule install|ls|rm``: timers of this controller for what backup policies ask for. No host is contacted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

from novafleet.app.wiring import Places
from novafleet.errors import ConfigError
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
    for any more. Raises ConfigError NF-SCHED-002, what is wrong with the files, ScheduleError NF-SCHED-003, -004."""
    asked = jobs(request, inventory)
    if not asked.jobs:
        where = request.file if request else ", ".join(str(path) for path in inventory)
        hints = ("add schedule: daily to the backup policy",)
        raise ConfigError("no backup policy has a schedule", code="NF-SCHED-002", where=where, hints=hints)
    memory = Schedules.of(places.state)
    timers = None if use_cron else Systemd.here()
    made = tuple(_schedule(job, asked, request, inventory, now, use_cron=use_cron) for job in asked.jobs)
    notices: tuple[str, ...] = ()
    for schedule, job in zip(made, asked.jobs, strict=True):
        before = memory.get(schedule.name)
        if before is not None and before.timer != schedule.timer:
            _stop(before)
        memory.put(schedule)
        notices = _start(schedule, job, timers)
    names = {schedule.name for schedule in made}
    gone = [each for each in memory.all() if _same_file(each, made[0]) and each.name not in names]
    for each in gone:
        _stop(each)
        memory.remove(each.name)
    return Installed(made, tuple(each.name for each in gone), notices)


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
            next(memory.runs(each.name), None),
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
    done = next((each for each in memory.runs(schedule.name) if each.state is not RunState.SKIPPED), None)
    since = max(done.started if done else 0.0, schedule.installed)
    moments = islice(cron.between(schedule.expression, cron.local(since), cron.local(now)), ENOUGH)
    return tuple(each.timestamp() for each in moments if within(schedule.window, each))[-MOST_MISSED:]


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


def _same_file(one: Schedule, other: Schedule) -> bool:
    return (one.file, one.file or one.inventory) == (other.file, other.file or other.inventory)


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
        secrets="/etc/novafleet/schedule.env" if system else str(Path.home() / ".config/novafleet/schedule.env"),
        credentials=dict(_credentials(job.policy, system=system)),
    )


def _delay(schedule: Schedule) -> int:
    """At most a quarter of the time between two runs, and of the window."""
    start = cron.local(schedule.installed)
    moments = islice(cron.between(schedule.expression, start, start + timedelta(days=3660)), 100)
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    window = schedule.window
    length = ((window.end - window.start) % 1440) * 60 if window else 4 * DELAY
    return int(min(DELAY, length / 4, *(gap / 4 for gap in gaps)))


def _credentials(policy: Policy, *, system: bool) -> dict[str, str]:
    """systemd credentials that a policy's references name, and where they are put."""
    folder = "/etc/credstore.encrypted" if system else str(Path.home() / ".config/credstore")
    notify = policy.notify
    references = [policy.passphrase, *(notify.apprise if notify else ())]
    references += [notify.email.password] if notify and notify.email else []
    references += [notify.webhook.secret] if notify and notify.webhook else []
    names = [name for kind, _, name in (each.partition(":") for each in references) if kind == "credential"]
    return {name: f"{folder}/{name}" for name in names}
