"""``schedule install|ls|run|settle|rm``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.options import Inventory, Output, OutputForm, Timeout, VariableFiles, Variables
from novafleet.cli.run import guarded, inventory_of, run

app = typer.Typer(help="Backups by themselves: timers on this machine for what policies say.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `schedule ls` shows it.")]


@app.command("install")
def install(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="Environment file; without it the inventory's own policies."),
    ] = None,
    inventory: Inventory = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    cron: Annotated[bool, typer.Option("--cron", help="A crontab instead of systemd timers.")] = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Make timers for the backup policies of an environment file, or of the inventory. Again: bring them up to date."""
    from novafleet.app.schedule import install as use_case
    from novafleet.app.wiring import Places
    from novafleet.cli.environment import request_of
    from novafleet.report import schedule as report

    paths = guarded(lambda: inventory_of(context, inventory), output)
    request = guarded(lambda: request_of(context, file, paths, variables, variable_files), output) if file else None
    made = guarded(lambda: use_case(request, paths, Places.of_user(), time.time(), use_cron=cron), output)
    report.show_installed(made, output)


@app.command("ls")
def ls(output: Output = OutputForm.TABLE) -> None:
    """Every schedule of this machine and user: when it runs next, how it went last, what it missed."""
    from novafleet.app.schedule import ls as use_case
    from novafleet.app.wiring import Places
    from novafleet.report import schedule as report

    report.show_list(guarded(lambda: use_case(Places.of_user(), time.time()), output), output)


@app.command("run")
def run_now(name: Name, output: Output = OutputForm.TABLE, timeout: Timeout = 0.0) -> None:
    """Do what a schedule is for, now: back up, forget, verify, drill when due, and tell people. Timers call this."""
    from novafleet.app.duties import ByPolicy
    from novafleet.app.scheduledrun import run as use_case
    from novafleet.app.wiring import Places, SystemClock
    from novafleet.report import schedule as report
    from novafleet.report.progress import RunProgress

    ended = run(
        lambda: use_case(name, ByPolicy(RunProgress, SystemClock()), Places.of_user(), SystemClock()),
        form=output,
        timeout=timeout,
    )
    report.show_run(ended, output)
    if ended.exit_code:
        raise typer.Exit(int(ended.exit_code))


@app.command("settle", hidden=True)
def settle(name: Name, output: Output = OutputForm.TABLE) -> None:
    """After a run's process is gone: tell that it was killed, if it was. Timers call this."""
    from novafleet.app.scheduledrun import settle as use_case
    from novafleet.app.wiring import Places, SystemClock
    from novafleet.report import schedule as report

    died = run(lambda: use_case(name, Places.of_user(), SystemClock()), form=output)
    if died is not None:
        report.show_run(died, output)


@app.command("rm")
def rm(name: Name, output: Output = OutputForm.TABLE) -> None:
    """Remove a schedule, its timer and its history. Backups stay."""
    from novafleet.app.schedule import rm as use_case
    from novafleet.app.wiring import Places
    from novafleet.report import schedule as report

    report.show_removed(guarded(lambda: use_case(name, Places.of_user()), output), output)
