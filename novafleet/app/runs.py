"""``runs ls|show|log``: what the journal of this controller remembers."""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.app.wiring import Places, open_journal
from novafleet.errors import ConfigError
from novafleet.execute.resume import INTENT
from novafleet.model.run import Record, Run, RunState
from novafleet.store.journal import Journal

MOVING = ("migrate", "host drain", "host undrain", "rebalance")
"""Verbs whose runs move VMs, and have the records of their migrations."""
EMPTYING = MOVING[1:3]
"""Runs about a host rather than an environment: of the same host the newest is its last word."""
ENOUGH = 1000
"""Runs searched for the beginning of an id."""


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """One step of a run: how often it was tried, how it ended ("" while nobody knows), the seconds of its last try."""

    node: str
    attempts: int
    state: str
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class RunHistory:
    """A run and its steps, in the order they started."""

    run: Run
    steps: tuple[NodeHistory, ...]


async def ls(environment: str = "", limit: int = 20) -> tuple[Run, ...]:
    """The newest runs, of one environment or of all."""
    async with open_journal(Places.of_user()) as journal:
        return await journal.runs(environment or None, limit)


async def show(run_id: str = "") -> RunHistory:
    """One run with its steps. Raises ConfigError NF-RUN-020 or -021."""
    async with open_journal(Places.of_user()) as journal:
        run = await find(journal, run_id)
        return RunHistory(run, history(await journal.records(run.id)))


async def log(run_id: str = "") -> tuple[Record, ...]:
    """The journal of one run. Raises ConfigError NF-RUN-020 or -021."""
    async with open_journal(Places.of_user()) as journal:
        return await journal.records((await find(journal, run_id)).id)


async def to_resume(run_id: str = "") -> Run:
    """The run that ``resume`` means. Raises ConfigError NF-RUN-020 or -021."""
    async with open_journal(Places.of_user()) as journal:
        return await find(journal, run_id, unfinished=True)


async def find(journal: Journal, run_id: str, *, unfinished: bool = False) -> Run:
    """The run whose id begins so; by default the newest. With ``unfinished`` the default is the newest of an
    environment, or of a host's drains, that did not end well and that no later run of it has made obsolete: a backup
    is begun anew instead.

    Raises ConfigError NF-RUN-020 when there is none, NF-RUN-021 when there are several.
    """
    runs = await journal.runs(limit=ENOUGH)
    if run_id:
        runs = tuple(run for run in runs if run.id.startswith(run_id))
    else:
        runs = (_last_words(runs) if unfinished else runs)[:1]
    if not runs:
        wanted = f"no run begins with {run_id}" if run_id else "there is no such run"
        raise ConfigError(wanted, code="NF-RUN-020", hints=("novafleet runs ls",))
    if len(runs) > 1:
        several = ", ".join(run.id for run in runs[:5])
        raise ConfigError(f"several runs begin with {run_id}", code="NF-RUN-021", cause=several)
    return runs[0]


def _last_words(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    newest: dict[str, Run] = {}
    for run in runs:
        subject = run.environment or (f"host {run.request.get('host')}" if run.verb in EMPTYING else "")
        if subject:
            newest.setdefault(subject, run)
    return tuple(run for run in newest.values() if run.state is not RunState.DONE)


def history(records: tuple[Record, ...]) -> tuple[NodeHistory, ...]:
    """Records to steps, by first appearance."""
    nodes: dict[str, list[Record]] = {}
    for record in records:
        nodes.setdefault(record.node, []).append(record)
    return tuple(_node(node, seen) for node, seen in nodes.items())


def _node(node: str, records: list[Record]) -> NodeHistory:
    attempts, last = max(record.attempt for record in records), records[-1]
    if last.kind == INTENT:
        return NodeHistory(node, attempts, "", 0.0, "")
    began = next((record.at for record in reversed(records) if record.kind == INTENT), last.at)
    error = last.payload.get("error") or {}
    text = str(error.get("what") or last.payload.get("because") or "")
    return NodeHistory(node, attempts, last.kind, last.at - began, text)
