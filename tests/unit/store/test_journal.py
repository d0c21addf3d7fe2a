"""The journal: durable, ordered, grouped, private, and clear when it cannot be."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from novafleet.errors import NovaFleetError
from novafleet.model.run import Record, Run, RunState
from novafleet.store.database import open_database
from novafleet.store.journal import Journal, new_run_id

ROOT = Path(__file__).parents[3]
RUN = Run("20261121T071500-4f2a", "devlab", "up", RunState.RUNNING, 1.0, holder="ada@desk", request={"file": "a.yml"})


def record(node: str, kind: str = "done", **payload: object) -> Record:
    return Record(RUN.id, node, 1, kind, 7, 2.5, payload)


async def test_records_come_back_in_the_order_they_were_appended(tmp_path: Path) -> None:
    written = [record(f"vm.{n}/start", kind, note="ü", n=n) for n in range(5) for kind in ("intent", "done")]
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.begin(RUN)
        for each in written:
            await journal.append([each])
    async with Journal(tmp_path / "journal.db") as journal:
        assert await journal.records(RUN.id) == tuple(written)
        assert await journal.records("other") == ()


async def test_concurrent_appends_share_commits(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.begin(RUN)
        before = wal_commits(path)
        await asyncio.gather(*(journal.append([record(f"n{n}")]) for n in range(500)))
        assert wal_commits(path) - before <= 3
        assert [each.node for each in await journal.records(RUN.id)] == [f"n{n}" for n in range(500)]


def wal_commits(path: Path) -> int:
    """Frames of the WAL that end a transaction (their header's second word is the database size, not 0)."""
    wal = Path(f"{path}-wal").read_bytes()
    page = int.from_bytes(wal[8:12], "big")
    frames = range(32, len(wal), 24 + page)
    return sum(1 for at in frames if int.from_bytes(wal[at + 4 : at + 8], "big"))


async def test_what_was_awaited_is_there_for_another_process_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.begin(RUN)
        await journal.append([record("a")])
        other = sqlite3.connect(path)
        assert other.execute("SELECT node FROM step").fetchall() == [("a",)]
        other.close()


async def test_an_abandoned_append_is_still_written(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.begin(RUN)
        task = asyncio.create_task(journal.append([record("a")]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    async with Journal(tmp_path / "journal.db") as journal:
        assert [each.node for each in await journal.records(RUN.id)] == ["a"]


async def test_runs_are_listed_newest_first_and_unfinished_are_known(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        for n, environment in enumerate(["devlab", "prod", "devlab"]):
            await journal.begin(Run(f"2026112{n}T000000-0000", environment, "up", RunState.RUNNING, float(n)))
        assert [run.id[7:8] for run in await journal.runs()] == ["2", "1", "0"]
        assert [run.id[7:8] for run in await journal.runs("devlab", limit=1)] == ["2"]
        await journal.finish("20261122T000000-0000", RunState.FAILED, 9.0, {"failed": 1})
        assert [run.id[7:8] for run in await journal.unfinished("devlab")] == ["0"]
        ended = await journal.run("20261122T000000-0000")
        assert (ended.state, ended.ended, ended.summary) == (RunState.FAILED, 9.0, {"failed": 1})
        await journal.reopen(ended.id, "bob@desk")
        again = await journal.run(ended.id)
        assert (again.state, again.ended, again.holder) == (RunState.RUNNING, 0.0, "bob@desk")
        with pytest.raises(NovaFleetError, match="no run x") as caught:
            await journal.run("x")
        assert caught.value.code == "NF-RUN-014"


async def test_the_journal_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.db"
    async with Journal(path) as journal:
        await journal.begin(RUN)
        assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
        for file in path.parent.iterdir():
            assert oct(file.stat().st_mode & 0o777) == "0o600", file


async def test_settings_are_durable(tmp_path: Path) -> None:
    database = open_database(tmp_path / "journal.db")
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize(
    ("content", "code"), [(b"this is not a database" * 300, "NF-RUN-011"), (b"SQLite format 3\0" + b"\xff" * 8192, "")]
)
async def test_a_damaged_journal_names_the_file_and_a_fix(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(NovaFleetError) as caught:
        async with Journal(path):
            pass
    assert caught.value.code == (code or caught.value.code)
    assert caught.value.code in {"NF-RUN-011", "NF-RUN-013"}
    assert caught.value.where == str(path)
    assert caught.value.hints


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    open_database(path).close()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO schema_version VALUES (99)")
    database.close()
    with pytest.raises(NovaFleetError, match="schema 99") as caught:
        async with Journal(path):
            pass
    assert caught.value.code == "NF-RUN-012"


async def test_an_unusable_path_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NovaFleetError) as caught:
        async with Journal(tmp_path / "file" / "journal.db"):
            pass
    assert caught.value.code == "NF-RUN-013"


FULL = """
import asyncio, sys
from pathlib import Path
from novafleet.errors import SpaceError
from novafleet.model.run import Record, Run, RunState
from novafleet.store.journal import Journal

async def fill() -> None:
    async with Journal(Path(sys.argv[1])) as journal:
        await journal.begin(Run("r", "devlab", "up", RunState.RUNNING, 1.0))
        for n in range(10_000):
            try:
                await journal.append([Record("r", f"n{n}", 1, "done", 1, 1.0, {"text": "x" * 5000})])
            except SpaceError as error:
                assert len(await journal.records("r")) == n
                print(error.code)
                return

asyncio.run(fill())
"""


def test_a_full_disk_is_a_space_error(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "nf-store-test", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        command = [sys.executable, "-c", FULL, str(tmp_path / "journal.db")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.stdout == "NF-RUN-010\n"


def write_many(path: Path, name: str) -> None:
    async def write() -> None:
        async with Journal(path) as journal:
            await journal.begin(Run(name, "devlab", "up", RunState.RUNNING, 1.0))
            for n in range(20):
                await journal.append([Record(name, f"n{n}", 1, "done", 1, 1.0)])

    asyncio.run(write())


async def test_processes_share_one_journal_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, f"run{n}")) for n in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        await asyncio.to_thread(each.join, 60)
    assert [each.exitcode for each in writers] == [0, 0, 0, 0]
    async with Journal(path) as journal:
        assert [len(await journal.records(f"run{n}")) for n in range(4)] == [20, 20, 20, 20]


def test_run_ids_sort_by_time() -> None:
    assert re.fullmatch(r"20261121T071500-[0-9a-f]{4}", new_run_id(1795245300.0))
    assert new_run_id(1795245300.0) < new_run_id(1795245301.0)


def test_schema_is_plain_sql() -> None:
    """Only the identity column differs on Postgres; everything else is SQL both know."""
    schema = (ROOT / "novafleet/store/schema.sql").read_text()
    statements = re.sub(r"--.*", "", schema)
    assert statements.count("AUTOINCREMENT") == 1
    types = set(re.findall(r"^    \w+\s+([A-Z]+(?: PRECISION)?)", statements, re.MULTILINE))
    assert types == {"TEXT", "INTEGER", "BIGINT", "DOUBLE PRECISION"}
    assert "PRAGMA" not in statements
