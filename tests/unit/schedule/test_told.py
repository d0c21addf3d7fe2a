"""Who is told of which run, and what becomes of a run that nobody could be told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novafleet.app.scheduledrun import run, settle
from novafleet.app.wiring import Places
from novafleet.errors import BackupError, ExitCode
from novafleet.model.policy import Notify, Webhook
from novafleet.model.schedule import RunState, ScheduledRun, VmOutcome
from novafleet.store.schedules import Schedules
from tests.unit.schedule.test_notify import Receiver, receiver
from tests.unit.schedule.test_scheduled_run import DAY, ENVIRONMENT, NIGHT, Clock, Work, install, places, utc

__all__ = ["places", "receiver", "utc"]


def asked(tmp_path: Path, url: str, on: str) -> None:
    """The environment file, with somebody to tell."""
    notify = f'  notify: {{on: [{on}], webhook: {{url: "{url}"}}}}\n'
    (tmp_path / "env.yml").write_text(ENVIRONMENT.replace("vms:", f"{notify}vms:"))


@pytest.mark.parametrize(
    ("on", "fails", "missed", "event"),
    [
        ("failure, missed", False, False, ""),
        ("failure, missed", True, False, "failure"),
        ("failure, missed", False, True, "missed"),
        ("failure, missed", True, True, "failure"),
        ("success", False, True, "success"),
        ("success", True, True, ""),
    ],
)
async def test_what_is_told(
    places: Places, receiver: Receiver, tmp_path: Path, on: str, fails: bool, missed: bool, event: str
) -> None:
    asked(tmp_path, receiver.url, on)
    if not missed:
        install(places, tmp_path, installed=NIGHT - 3600)
    work = Work(fails={"verify": BackupError("damaged")} if fails else {})
    ended = await run("dev", work, places, Clock())
    told = [json.loads(body) for _, body in receiver.requests]
    assert [each["event"] for each in told] == ([event] if event else [])
    assert ended.told == (("webhook",) if event else ())
    if event:
        assert told[0]["run"]["id"] == ended.id
        assert told[0]["text"].startswith("dev: ")
        assert told[0]["subject"] == f"[novafleet] dev: {'FAILED' if fails else 'ok'}, 2 of 2 VMs backed up in 0 s"


async def test_a_file_that_is_broken_by_now_is_told_by_what_it_said_before(
    places: Places, receiver: Receiver, tmp_path: Path
) -> None:
    asked(tmp_path, receiver.url, "failure")
    await run("dev", Work(), places, Clock())
    (tmp_path / "env.yml").write_text("environment: dev\nbackup: {passphrase: hunter2}\n")
    ended = await run("dev", Work(), places, Clock(NIGHT + DAY))
    assert ended.exit_code is ExitCode.USAGE
    [(_, body)] = receiver.requests
    assert json.loads(body)["event"] == "failure"
    assert "env.yml:2:" in json.loads(body)["text"]
    assert "hunter2" not in body.decode(), "the line of the file stays here"


async def test_a_good_run_that_nobody_could_be_told_of(places: Places, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [404]
    asked(tmp_path, receiver.url, "success")
    ended = await run("dev", Work(), places, Clock())
    assert (ended.state, ended.exit_code) == (RunState.DONE, ExitCode.FAILED)
    assert "NF-NOTIFY-002" in ended.told[0]
    assert next(Schedules.of(places.state).runs("dev")) == ended


async def test_a_killed_run_is_told(places: Places, receiver: Receiver, tmp_path: Path) -> None:
    install(places, tmp_path, notify=Notify(webhook=Webhook(receiver.url)))
    Schedules.of(places.state).record(ScheduledRun("dev", "20261121T000000Z-0000", NIGHT - 3600))
    await settle("dev", places, Clock())
    assert json.loads(receiver.requests[0][1])["text"].startswith("dev: KILLED")


async def test_what_a_host_says_is_shown_not_obeyed(places: Places, receiver: Receiver, tmp_path: Path) -> None:
    asked(tmp_path, receiver.url, "failure")
    hostile = BackupError("\x1b[2J\r\nBcc: x@y", cause="\x07").finding()
    await run("dev", Work(outcomes=(VmOutcome("kvm1/dev-db", error=hostile),)), places, Clock())
    text = json.loads(receiver.requests[0][1])["text"]
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b[2J\\x0d\\x0aBcc" in text
