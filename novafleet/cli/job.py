"""``job ls|attach|cancel``."""

from __future__ import annotations

from typing import Annotated

import typer

from novafleet.cli.options import Output, OutputForm, Timeout
from novafleet.cli.run import run
from novafleet.errors import ExitCode

app = typer.Typer(help="Migrations, drains and rebalancing: under way, and before.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="[JOB]", help="A run's id, or its beginning; default: what goes on.")]


@app.command("ls")
def ls(
    every: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    last: Annotated[int, typer.Option("--last", metavar="N", help="How many of those that ended (--all).")] = 20,
    output: Output = OutputForm.TABLE,
) -> None:
    """What moves VMs now, or was killed while it did."""
    from novafleet.app import job as use_case
    from novafleet.report import job as report

    report.show_list(run(lambda: use_case.ls(last, everything=every), form=output), output)


@app.command("attach")
def attach(job: JobId = "", output: Output = OutputForm.TABLE, timeout: Timeout = 0.0) -> None:
    """Watch a run to its end; leaving (Ctrl-C) does not stop it."""
    from novafleet.app import job as use_case
    from novafleet.report import job as report

    found = run(lambda: use_case.attach(job, report.tell), form=output, timeout=timeout)
    report.show_one(found, output)
    if (status := use_case.exit_code(found)) is not ExitCode.OK:
        raise typer.Exit(int(status))


@app.command("cancel")
def cancel(job: JobId = "", output: Output = OutputForm.TABLE) -> None:
    """Stop a run as Ctrl-C does: no move begins, what has not arrived goes back. Again: copies are cut off."""
    from novafleet.app import job as use_case
    from novafleet.report import job as report

    report.show_one(run(lambda: use_case.cancel(job), form=output), output)
