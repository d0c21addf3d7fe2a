"""Every report, whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from novafleet.app.runs import RunHistory, history
from novafleet.errors import ConfigError, ConfigErrors
from novafleet.model.plan import Plan
from novafleet.model.run import Event
from novafleet.report import doctor, findings, plan, run, runs, schedule, status, vm
from novafleet.report.progress import RunProgress
from tests.unit.report import samples, schedules

HISTORY = RunHistory(samples.RUN, history(samples.RECORDS))
REPORTS: dict[str, Callable[[str], None]] = {
    "doctor": lambda form: doctor.show(samples.FINDINGS, form),
    "status": lambda form: status.show("devlab", samples.STATUS, form, {"kvm9": "connection refused"}),
    "plan": lambda form: plan.show(samples.PLAN, form),
    "plan-nothing": lambda form: plan.show(Plan("devlab", "up", (samples.NET,)), form),
    "run-failed": lambda form: run.show(samples.FAILED, form),
    "run-done": lambda form: run.show(samples.DONE, form),
    "vm-ls": lambda form: vm.show(samples.VMS, form),
    "vm-show": lambda form: vm.details(samples.DETAILS, form),
    "vm-stop": lambda form: vm.switched(samples.STOPPED, form),
    "runs-ls": lambda form: runs.show_list((samples.RUN, samples.OLDER), form),
    "runs-show": lambda form: runs.show_one(HISTORY, form),
    "runs-log": lambda form: runs.show_log(samples.RECORDS, form),
    "schedule-install": lambda form: schedule.show_installed(schedules.INSTALLED, form),
    "schedule-ls": lambda form: schedule.show_list(schedules.LISTED, form),
    "schedule-run": lambda form: schedule.show_run(schedules.RUN, form),
    "schedule-skipped": lambda form: schedule.show_run(schedules.SKIPPED, form),
    "error": lambda form: findings.show([samples.GATE], form),
    "errors": lambda form: findings.show(
        [ConfigErrors((ConfigError("one", where=samples.HERE), ConfigError(samples.HOSTILE, hints=("try", "that"))))],
        form,
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_text(name: str, golden: Callable[[str], None]) -> None:
    REPORTS[name]("table")
    golden(name)


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_a_host_says_is_obeyed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    REPORTS[name]("table")
    printed = "".join(capsys.readouterr())
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_progress_without_a_terminal(golden: Callable[[str], None]) -> None:
    with RunProgress(3) as show:
        show(Event("run_started", 0.0, total=3))
        show(Event("step_started", 0.0, "r", "vm.db/start", "vm.db", "kvm1"))
        show(Event("step_progress", 0.1, "r", "vm.db/start", "vm.db", "kvm1", "half", 1, 2))
        show(Event("step_retry", 0.2, "r", "vm.db/start", "vm.db", "kvm1", "again in 1 s: busy"))
        show(Event("step_done", 1.0, "r", "vm.db/start", "vm.db", "kvm1"))
        show(Event("step_failed", 2.0, "r", "vm.web/start", "vm.web", "kvm2", samples.HOSTILE))
        show(Event("step_skipped", 2.0, "r", "vm.web/ready", "vm.web", "kvm2", "vm.web/start on kvm2 failed"))
        show(Event("notice", 2.0, text="kvm9 is left out"))
    golden("progress")
