"""``runs ls|show|log`` and ``resume``."""

from __future__ import annotations

from typing import Annotated

import typer

from novafleet.cli.options import Output, OutputForm, Timeout, Yes
from novafleet.cli.run import run

app = typer.Typer(help="What was done: runs and their journal.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="[RUN]", help="Run id, its beginning, or nothing for the newest.")]


@app.command("ls")
def ls(
    environment: Annotated[str, typer.Option("--environment", help="Only runs of this environment.")] = "",
    limit: Annotated[int, typer.Option("--last", help="How many.")] = 20,
    output: Output = OutputForm.TABLE,
) -> None:
    """List runs, newest first."""
    from novafleet.app import runs as use_case
    from novafleet.report import runs as report

    report.show_list(run(lambda: use_case.ls(environment, limit), form=output), output)


@app.command("show")
def show(run_id: RunId = "", output: Output = OutputForm.TABLE) -> None:
    """One run: what it did, step by step, and its critical path."""
    from novafleet.app import runs as use_case
    from novafleet.report import runs as report

    report.show_one(run(lambda: use_case.show(run_id), form=output), output)


@app.command("log")
def log(run_id: RunId = "", output: Output = OutputForm.TABLE) -> None:
    """The journal of a run, record by record."""
    from novafleet.app import runs as use_case
    from novafleet.report import runs as report

    report.show_log(run(lambda: use_case.log(run_id), form=output), output)


def resume(
    run_id: RunId = "",
    assume: Annotated[
        str, typer.Option("--assume", metavar="done|retry", help="For steps whose outcome nobody knows.")
    ] = "",
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Continue a run that was killed or failed; default: the newest unfinished one."""
    from novafleet.app.runs import to_resume
    from novafleet.cli.drain import RESUMED, resumed

    found = run(lambda: to_resume(run_id), form=output)
    if found.verb in RESUMED:
        resumed(found, yes=yes, output=output, timeout=timeout)
        return

    from novafleet.cli.change import resume as continue_run

    continue_run(run_id, assume, yes=yes, form=output, timeout=timeout)
