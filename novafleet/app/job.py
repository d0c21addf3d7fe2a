"""``job ls|attach|cancel``: migrations, drains and rebalancing, under way and ended, from the journal."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.runs import MOVING, find
from novafleet.app.wiring import Places, SystemClock, open_journal
from novafleet.errors import ConfigError, ExitCode, NovaFleetError, Retry
from novafleet.execute.resume import INTENT
from novafleet.model.run import Record, Run, RunState
from novafleet.store.journal import Journal

ENOUGH = 1000
GOING = ("running", "elsewhere")
POLL = 0.5
"""Seconds between two looks at the journal."""
HOLDER = re.compile(r"(?P<user>.+)@(?P<host>[^@ ]+) pid (?P<pid>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Job:
    """One run. ``state``: running | killed (its process is gone: resume) | elsewhere (another machine runs it) | done |
    failed | cancelled. ``vms``: what it was told of, ``moved`` how many have arrived."""

    id: str
    verb: str
    about: str
    state: str
    started: float
    ended: float
    holder: str
    vms: tuple[str, ...]
    moved: int


async def ls(last: int = 20, *, everything: bool = False) -> tuple[Job, ...]:
    """Those under way first, all of them; with ``everything`` the ``last`` that ended, too. The newest first."""
    async with open_journal(Places.of_user()) as journal:
        runs = [run for run in await journal.runs(limit=ENOUGH) if run.verb in MOVING]
        going = [run for run in runs if run.state is RunState.RUNNING]
        ended = [run for run in runs if run.state is not RunState.RUNNING] if everything else []
        return tuple([await _job(journal, run) for run in (*going, *ended[: max(last, 0)])])


async def attach(run_id: str, tell: Callable[[Record], None]) -> Job:
    """Tell every record of a run until it has ended or its process is gone. Raises ConfigError NF-RUN-020, -021."""
    clock, seen = SystemClock(), 0
    async with open_journal(Places.of_user()) as journal:
        run = await _of(journal, run_id)
        while True:
            records = await journal.records(run.id)
            for record in records[seen:]:
                tell(record)
            seen = len(records)
            job = await _job(journal, await journal.run(run.id))
            if job.state not in GOING:
                return job
            await clock.sleep(POLL)


async def cancel(run_id: str) -> Job:
    """Ask the process of a run to stop as Ctrl-C does: what has not arrived goes back. A second time cuts copies off.

    Raises ConfigError NF-RUN-020, -021; NovaFleetError NF-RUN-023 when its process is gone, has ended, or is not here.
    """
    async with open_journal(Places.of_user()) as journal:
        job = await _job(journal, await _of(journal, run_id))
    found = HOLDER.fullmatch(job.holder)
    if job.state != "running" or found is None:
        raise _not_here(job)
    try:
        os.kill(int(found["pid"]), signal.SIGINT)
    except (ProcessLookupError, PermissionError) as error:
        raise _not_here(job, str(error)) from error
    return job


def exit_code(job: Job) -> ExitCode:
    """0 done, 130 cancelled, 1 anything else."""
    return {"done": ExitCode.OK, "cancelled": ExitCode.INTERRUPTED}.get(job.state, ExitCode.FAILED)


async def _of(journal: Journal, run_id: str) -> Run:
    if run_id:
        return await find(journal, run_id)
    runs = [run for run in await journal.runs(limit=ENOUGH) if run.verb in MOVING]
    if not runs:
        raise ConfigError("nothing was ever moved from here", code="NF-RUN-020", hints=("novafleet runs ls",))
    for run in runs:
        if run.state is RunState.RUNNING and _state(run, await journal.records(run.id)) in GOING:
            return run
    return runs[0]


async def _job(journal: Journal, run: Run) -> Job:
    records = await journal.records(run.id)
    arrived = {record.node for record in records if record.kind == "done" and record.node.endswith("/commit")}
    known = run.request.get("vms") or sorted({record.node.rpartition("/")[0] for record in records})
    about = str(run.request.get("host") or run.request.get("to") or "")
    state = _state(run, records)
    return Job(run.id, run.verb, about, state, run.started, run.ended, run.holder, tuple(known), len(arrived))


def _state(run: Run, records: Sequence[Record]) -> str:
    if run.state is not RunState.RUNNING:
        return run.state.value
    found = HOLDER.fullmatch(run.holder)
    if found is None or found["host"] != socket.gethostname():
        return "elsewhere"
    last = max((record.at for record in records), default=run.started)
    return "running" if began(int(found["pid"])) <= max(last, run.started) + 1.0 else "killed"


def began(pid: int, proc: Path = Path("/proc")) -> float:
    """When a process began, seconds since the epoch; infinity for none. A number that was given to another process
    since is told by that: it began after the run's last record."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = re.search(r"^btime ([0-9]+)$", (proc / "stat").read_text(), re.MULTILINE)
    except OSError:
        return float("inf")
    if boot is None or len(fields) < 20 or fields[0] == "Z":
        return float("inf")
    return int(boot[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _not_here(job: Job, cause: str = "") -> NovaFleetError:
    said: Mapping[str, tuple[str, str]] = {
        "killed": ("its process is gone", f"novafleet resume {job.id}"),
        "elsewhere": (f"it is run by {job.holder}", "cancel it there"),
        "running": ("its process cannot be asked", f"ps -fp {job.holder.rpartition(' ')[2]}"),
    }
    what, hint = said.get(job.state, (f"it has ended: {job.state}", f"novafleet runs show {job.id}"))
    return NovaFleetError(
        f"run {job.id} cannot be cancelled: {what}",
        code="NF-RUN-023",
        where=job.id,
        cause=cause,
        hints=(hint,),
        retry=Retry.NEVER,
    )


def words(record: Record) -> str:
    """One record in a line."""
    if record.kind == INTENT:
        return f"{record.node} …"
    error = record.payload.get("error") or {}
    text = str(error.get("what") or record.payload.get("because") or record.payload.get("phase") or "")
    return f"{record.node} {record.kind} {text}".rstrip()
