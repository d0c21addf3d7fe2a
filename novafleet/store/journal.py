"""The journal: an append-only record of runs and steps (implements ``ports.Journal``).

One writer thread owns the database. Whatever is queued while a commit is on its way to the disk goes into the
next one (group commit), so a thousand concurrent steps cost about as many fsyncs as one chain of steps.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from novafleet.errors import NovaFleetError
from novafleet.model.run import Record, Run, RunState
from novafleet.store.database import guarded, open_database

T = TypeVar("T")
Row = tuple[str, str, int, str, int, float, str]

_APPEND = "INSERT INTO step (run, node, attempt, kind, epoch, ts, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
_RUN = "SELECT id, environment, verb, state, started, ended, holder, request, summary FROM run"
_RECORDS = "SELECT run, node, attempt, kind, epoch, ts, payload FROM step WHERE run = ? ORDER BY id"


def new_run_id(now: float) -> str:
    """A name that sorts by time: ``20261121T071500-4f2a`` (UTC, then four random hex digits)."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


class Journal:
    """``async with Journal(path) as journal``; every await returns only when the record is durable.

    Raises SpaceError NF-RUN-010 when the file system is full, NovaFleetError NF-RUN-011..013 for a damaged,
    too new or unusable file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._writing = asyncio.Lock()
        self._queued: list[Row] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._commit: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Journal:
        loop = asyncio.get_running_loop()
        try:
            self._database = await loop.run_in_executor(self._writer, open_database, self._path)
        except NovaFleetError:
            self._writer.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._commit is not None:
            await asyncio.wait({self._commit})
        await self._call(sqlite3.Connection.close)
        self._writer.shutdown()

    async def append(self, records: Sequence[Record]) -> None:
        """Make records durable, in order, in one commit with whatever else is queued."""
        self._queued += [_row(record) for record in records]
        if self._commit is None:
            self._commit = asyncio.create_task(self._commit_queued())
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(durable)
        await durable

    async def _commit_queued(self) -> None:
        async with self._writing:
            rows, waiting, self._queued, self._waiting, self._commit = self._queued, self._waiting, [], [], None
            error: NovaFleetError | None = None
            try:
                await self._on_writer(lambda database: _insert(database, rows))
            except NovaFleetError as caught:
                error = caught
        for durable in waiting:
            if durable.cancelled():
                continue
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

    async def begin(self, run: Run) -> None:
        """Write the header of a new run."""
        row = (run.id, run.environment, run.verb, run.state.value, run.started, run.ended, run.holder)
        values = (*row, 1, _text(run.request), _text(run.summary))
        await self._execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)

    async def reopen(self, run_id: str, holder: str) -> None:
        """A killed or failed run goes on under a new holder; its epoch grows."""
        change = "UPDATE run SET state = ?, holder = ?, ended = 0, epoch = epoch + 1 WHERE id = ?"
        await self._execute(change, RunState.RUNNING.value, holder, run_id)

    async def finish(self, run_id: str, state: RunState, ended: float, summary: Mapping[str, Any]) -> None:
        """Close a run; ``ended`` is seconds since the epoch."""
        change = "UPDATE run SET state = ?, ended = ?, summary = ? WHERE id = ?"
        await self._execute(change, state.value, ended, _text(summary), run_id)

    async def runs(self, environment: str | None = None, limit: int = 50) -> tuple[Run, ...]:
        """The newest runs first, of one environment or of all."""
        where = f"{_RUN} WHERE ?1 IS NULL OR environment = ?1 ORDER BY id DESC LIMIT ?2"
        return await self._runs(where, environment, limit)

    async def run(self, run_id: str) -> Run:
        """One run. Raises NovaFleetError NF-RUN-014 when there is none of that id."""
        found = await self._runs(f"{_RUN} WHERE id = ?", run_id)
        if not found:
            raise _no_such_run(run_id, self._path)
        return found[0]

    async def unfinished(self, environment: str) -> tuple[Run, ...]:
        """Runs still marked running, newest first. Whoever holds the environment's lock knows they were killed."""
        where = f"{_RUN} WHERE environment = ? AND state = ? ORDER BY id DESC"
        return await self._runs(where, environment, RunState.RUNNING.value)

    async def records(self, run_id: str) -> tuple[Record, ...]:
        """Everything recorded of a run, in the order it became durable."""
        return await self._call(lambda database: tuple(_record(row) for row in database.execute(_RECORDS, (run_id,))))

    async def _runs(self, query: str, *values: Any) -> tuple[Run, ...]:
        return await self._call(lambda database: tuple(_run(row) for row in database.execute(query, values)))

    async def _execute(self, statement: str, *values: Any) -> None:
        await self._call(lambda database: database.execute(statement, values))

    async def _call(self, call: Callable[[sqlite3.Connection], T]) -> T:
        async with self._writing:
            return await self._on_writer(call)

    async def _on_writer(self, call: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, lambda: guarded(self._path, lambda: call(self._database)))


def _insert(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        database.executemany(_APPEND, rows)
        database.execute("COMMIT")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _row(record: Record) -> Row:
    payload = _text(record.payload) if record.payload else "{}"
    return (record.run, record.node, record.attempt, record.kind, record.epoch, record.at, payload)


def _record(row: Row) -> Record:
    run, node, attempt, kind, epoch, at, payload = row
    return Record(run, node, attempt, kind, epoch, at, json.loads(payload) if payload != "{}" else {})


_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _run(row: Sequence[Any]) -> Run:
    run_id, environment, verb, state, started, ended, holder, request, summary = row
    header = (run_id, environment, verb, RunState(state), started, ended, holder)
    return Run(*header, request=json.loads(request), summary=json.loads(summary))


def _no_such_run(run_id: str, path: Path) -> NovaFleetError:
    return NovaFleetError(f"there is no run {run_id}", code="NF-RUN-014", where=str(path), hints=("novafleet runs ls",))
