"""``runs ls|show|log`` over a real journal file, and through the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novafleet.app.runs import NodeHistory, history, log, ls, show
from novafleet.app.wiring import Places, open_journal
from novafleet.cli.main import app
from novafleet.errors import ConfigError
from novafleet.model.run import RunState
from tests.unit.report import samples

NEWER = replace(samples.RUN, id="20261121T090000-c3ff", environment="prod", state=RunState.DONE)


@pytest.fixture
async def journal(fleet_home: Path) -> Places:
    places = Places.of_user()
    async with open_journal(places) as opened:
        for run in (samples.OLDER, samples.RUN, NEWER):
            await opened.begin(replace(run, state=RunState.RUNNING, ended=0.0, summary={}))
            if run.state is not RunState.RUNNING:
                await opened.finish(run.id, run.state, run.ended, run.summary)
        await opened.append(samples.RECORDS)
    return places


async def test_ls_newest_first(journal: Places) -> None:
    assert await ls() == (NEWER, samples.RUN, samples.OLDER)
    assert await ls("devlab") == (samples.RUN,)
    assert await ls(limit=1) == (NEWER,)


async def test_show_and_log_by_the_beginning_of_an_id(journal: Places) -> None:
    found = await show("20261121T0834")
    assert found.run == samples.RUN
    assert [step.node for step in found.steps] == [
        "vm.db/start",
        "vm.db/ready",
        "vm.web/start",
        "vm.old/stop",
        "vm.lost/stop",
    ]
    assert await log("20261121T0834") == samples.RECORDS
    assert (await show()).run == NEWER


@pytest.mark.parametrize(("wanted", "code"), [("2027", "NF-RUN-020"), ("202611", "NF-RUN-021")])
async def test_no_run_or_several(journal: Places, wanted: str, code: str) -> None:
    with pytest.raises(ConfigError) as raised:
        await show(wanted)
    assert raised.value.code == code


async def test_an_empty_journal(fleet_home: Path) -> None:
    assert await ls() == ()
    with pytest.raises(ConfigError, match="there is no such run"):
        await show()


def test_how_steps_ended() -> None:
    steps = {step.node: step for step in history(samples.RECORDS)}
    assert steps["vm.db/start"] == NodeHistory("vm.db/start", 1, "done", 1.75, "")
    assert steps["vm.db/ready"] == NodeHistory("vm.db/ready", 2, "failed", 30.0, samples.GATE.what)
    assert steps["vm.web/start"] == NodeHistory("vm.web/start", 0, "skipped", 0.0, "vm.db/ready on kvm1 failed")
    assert steps["vm.old/stop"].state == "", "an intent without outcome: nobody knows"
    assert steps["vm.lost/stop"].state == "", "the last try decides, not the failure before it"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("runs", "ls", "--environment", "devlab"), "cli-runs-ls"),
        (("runs", "show", "20261121T083414"), "runs-show"),
        (("runs", "log", "20261121T083414"), "runs-log"),
    ],
)
def test_command_line(journal: Places, words: tuple[str, ...], name: str, golden: Callable[[str], None]) -> None:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    print(done.stdout, end="")
    golden(name)
