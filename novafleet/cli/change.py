"""What ``up``, ``down`` and ``resume`` share: ask, show progress, report, exit."""

from __future__ import annotations

from collections.abc import Callable

import typer

from novafleet.app.change import Conversation, Finished, change_environment, resume_run
from novafleet.cli.consent import agreed
from novafleet.cli.run import guarded, run
from novafleet.errors import ExitCode
from novafleet.model.plan import Plan
from novafleet.model.request import EnvironmentRequest
from novafleet.report import plan as plan_report
from novafleet.report import run as run_report
from novafleet.report.progress import RunProgress


def change(
    intent: str,
    request: Callable[[], EnvironmentRequest],
    *,
    yes: bool,
    lock_wait: float,
    form: str,
    timeout: float,
) -> None:
    """Plan, ask, execute and report one environment."""
    wanted = guarded(request, form)
    conversation = conversation_of(yes=yes, form=form)
    finish(run(lambda: change_environment(wanted, intent, conversation, lock_wait), form=form, timeout=timeout), form)


def resume(run_id: str, assume: str, *, yes: bool, form: str, timeout: float) -> None:
    """Continue a run that was killed."""
    conversation = conversation_of(yes=yes, form=form)
    finish(run(lambda: resume_run(run_id, assume, conversation), form=form, timeout=timeout), form)


def conversation_of(*, yes: bool, form: str) -> Conversation:
    """How this terminal consents and watches."""
    return Conversation(
        confirm=lambda plan: _confirm(plan, yes=yes, form=form),
        watch=RunProgress,
        say=lambda text: typer.echo(text, err=True),
    )


def _confirm(plan: Plan, *, yes: bool, form: str) -> bool:
    if form == "table":
        plan_report.show(plan)
    return yes or not plan.changed or agreed()


def finish(finished: Finished, form: str) -> None:
    """Report and leave with the run's exit status."""
    run_report.show(finished, form)
    if finished.exit_code is not ExitCode.OK:
        raise typer.Exit(int(finished.exit_code))
