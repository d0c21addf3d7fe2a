"""Jobs: which are running, which were killed, and who may be asked to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from novafleet.app import job as jobs
from novafleet.app.runs import to_resume
from novafleet.app.wiring import Places
from novafleet.errors import NovaFleetError
from novafleet.model.run import Record, Run, RunState
from novafleet.store.journal import Journal

HERE = socket.gethostname()
NEVER = 2**22 + 5
"""No process has this number: above the largest pid_max."""


async def write(*runs: Run, records: tuple[Record, ...] = ()) -> None:
    async with Journal(Places.of_user().journal) as journal:
        for run in runs:
            await journal.begin(run)
        await journal.append(records)


def drain(
    run_id: str, holder: str, state: RunState = RunState.RUNNING, host: str = "kvm2", started: float = 0.0
) -> Run:
    return Run(run_id, "", "host drain", state, started or time.time(), 0.0, holder, {"host": host})


@pytest.fixture(autouse=True)
def home(fleet_home: Path) -> Path:
    return fleet_home


async def test_states_tell_who_lives() -> None:
    await write(
        drain("1", f"me@{HERE} pid {os.getpid()}"),
        drain("2", f"me@{HERE} pid {NEVER}"),
        drain("3", "me@another pid 1"),
        drain("4", f"me@{HERE} pid {NEVER}", RunState.DONE),
        Run("5", "dev", "up", RunState.RUNNING, 1.0, 0.0, f"me@{HERE} pid 1"),
        records=(
            Record("1", "kvm2/a/commit", 1, "done", 0, time.time()),
            Record("1", "kvm2/b/copy", 1, "intent", 0, time.time()),
        ),
    )
    found = {job.id: job for job in await jobs.ls(everything=True)}
    states = {name: job.state for name, job in found.items()}
    assert states == {"1": "running", "2": "killed", "3": "elsewhere", "4": "done"}
    assert (found["1"].vms, found["1"].moved, found["1"].about) == (("kvm2/a", "kvm2/b"), 1, "kvm2")
    assert {job.id for job in await jobs.ls()} == {"1", "2", "3"}


async def test_what_is_under_way_is_listed_and_meant_whatever_ended_since() -> None:
    ended = [drain(f"{n}", "me", RunState.DONE) for n in range(20, 45)]
    await write(drain("10", f"me@{HERE} pid {os.getpid()}"), drain("11", f"me@{HERE} pid {NEVER}"), *ended)
    await write(records=(Record("10", "kvm2/a/copy", 1, "intent", 0, time.time()),))
    assert [job.id for job in await jobs.ls()] == ["11", "10"]
    assert [job.id for job in await jobs.ls(2, everything=True)] == ["11", "10", "44", "43"]
    async with Journal(Places.of_user().journal) as journal:
        assert (await jobs._of(journal, "")).id == "10", "11 was killed, the others have ended"


async def test_a_number_given_to_another_process_since_is_not_the_run() -> None:
    await write(drain("1", f"me@{HERE} pid {os.getpid()}", started=1.0))
    [job] = await jobs.ls()
    assert job.state == "killed", "this process began after the run's last record"


WAITS = """\
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print("up", flush=True)
signal.pause()
"""


def test_cancelling_interrupts_the_process() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        asyncio.run(write(drain("1", f"me@{HERE} pid {process.pid}")))
        assert asyncio.run(jobs.cancel("")).id == "1"
        assert process.wait(timeout=10) == 7
    with pytest.raises(NovaFleetError, match="its process is gone") as raised:
        asyncio.run(jobs.cancel("1"))
    assert raised.value.code == "NF-RUN-023"
    assert raised.value.hints == ("novafleet resume 1",)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (drain("1", "me@another pid 1"), "run by me@another"),
        (drain("1", f"me@{HERE} pid {NEVER}", RunState.DONE), "it has ended: done"),
    ],
    ids=["elsewhere", "ended"],
)
async def test_what_is_not_here_cannot_be_cancelled(run: Run, words: str) -> None:
    await write(run)
    with pytest.raises(NovaFleetError, match=words):
        await jobs.cancel("1")


async def test_attaching_tells_every_record_and_ends_with_the_run() -> None:
    records = [Record("1", f"kvm2/{name}/copy", 1, "done", 0, 1.0) for name in "ab"]
    await write(drain("1", f"me@{HERE} pid {NEVER}"), records=tuple(records))
    told: list[Record] = []
    job = await jobs.attach("1", told.append)
    assert (told, job.state, jobs.exit_code(job)) == (records, "killed", 1)


async def test_resume_takes_up_the_newest_drain_that_did_not_end_well() -> None:
    await write(
        drain("1", "me", RunState.FAILED, "kvm1"),
        drain("2", "me", RunState.RUNNING, "kvm2"),
        drain("3", "me", RunState.DONE, "kvm1"),
    )
    assert (await to_resume()).id == "2"


def test_when_a_process_began() -> None:
    assert abs(jobs.began(os.getpid()) - time.time()) < 24 * 3600
    assert jobs.began(NEVER) == float("inf")
