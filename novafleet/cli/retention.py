"""``backup forget|prune|hold|release``; registered on the app of ``cli/backup.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.options import KeyFile, Output, OutputForm, Passphrase, Repo, Timeout
from novafleet.cli.run import guarded, run
from novafleet.cli.values import seconds_of

if TYPE_CHECKING:
    from novafleet.app.retention import Rule
    from novafleet.repository import KeySource


def _count(name: str, what: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(f"--keep-{name}", min=0, metavar="N", help=what)
    return found


KeepLast = Annotated[int, _count("last", "Keep the newest N of each VM.")]
KeepHourly = Annotated[int, _count("hourly", "Keep the newest of N hours.")]
KeepDaily = Annotated[int, _count("daily", "Keep the newest of N days.")]
KeepWeekly = Annotated[int, _count("weekly", "Keep the newest of N ISO weeks.")]
KeepMonthly = Annotated[int, _count("monthly", "Keep the newest of N months.")]
KeepYearly = Annotated[int, _count("yearly", "Keep the newest of N years.")]
KeepWithin = Annotated[str, typer.Option("--keep-within", metavar="AGE", help="Keep all that are younger: 7d, 12h.")]
KeepTag = Annotated[list[str] | None, typer.Option("--keep-tag", metavar="TAG", help="Keep all with it; may repeat.")]
Vm = Annotated[list[str] | None, typer.Option("--vm", metavar="VM", help="Only these VMs; may repeat.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would go, and why the rest stays.")]
Snapshots = Annotated[list[str] | None, typer.Argument(metavar="[SNAPSHOT]...", help="Ids, or their beginnings.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (forget, prune, hold, release):
        app.command()(command)


def _key(file: Path | None, passphrase: str) -> KeySource:
    from novafleet.app.repository import key_source

    return key_source(file, passphrase)


def _rules(counts: dict[str, int], within: str, vms: list[str] | None, tags: list[str] | None) -> list[Rule]:
    """The rule the options say; none when they say nothing, and then nothing is forgotten by policy."""
    from novafleet.app.retention import Rule
    from novafleet.model.policy import Keep

    keep = Keep(**counts, within=seconds_of(within, "--keep-within"))
    return [Rule(keep, tuple(vms or ()), tuple(tags or ()))] if keep != Keep() else []


def _refuse_dry(dry_run: bool) -> None:
    from novafleet.errors import ConfigError

    if dry_run:
        hints = ("novafleet backup forget --trash   # lists what can be brought back",)
        raise ConfigError("--undo knows no --dry-run", code="NF-BAK-040", hints=hints)


def forget(
    snapshots: Snapshots = None,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    undo: Annotated[bool, typer.Option("--undo", help="Bring snapshots back from the trash.")] = False,
    trash: Annotated[bool, typer.Option("--trash", help="List what can be brought back.")] = False,
    last_too: Annotated[bool, typer.Option("--last-too", help="Also the last backup of a VM.")] = False,
    dry_run: DryRun = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Move snapshots to the trash. They stay readable there until a later `backup prune` has finished."""
    from novafleet.app import retention as use_case
    from novafleet.app.wiring import SystemClock
    from novafleet.report import retention as report

    names, key = snapshots or [], guarded(lambda: _key(key_file, passphrase), output)
    if trash or not names:
        report.show_trash(run(lambda: use_case.in_trash(repo, key), form=output), output)
    elif undo:
        guarded(lambda: _refuse_dry(dry_run), output)
        report.show_back(run(lambda: use_case.undo(repo, key, names, SystemClock()), form=output), output)
    else:
        done = run(
            lambda: use_case.forget(repo, key, names, SystemClock(), dry=dry_run, last_too=last_too), form=output
        )
        report.show_forgotten(done, output)


def prune(
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    keep_last: KeepLast = 0,
    keep_hourly: KeepHourly = 0,
    keep_daily: KeepDaily = 0,
    keep_weekly: KeepWeekly = 0,
    keep_monthly: KeepMonthly = 0,
    keep_yearly: KeepYearly = 0,
    keep_within: KeepWithin = "",
    keep_tag: KeepTag = None,
    vm: Vm = None,
    grace: Annotated[
        str, typer.Option(metavar="AGE", help="How long condemned data stays; 0 frees space now: no way back.")
    ] = "24h",
    dry_run: DryRun = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Forget by policy (without --keep-… nothing), then free the space nobody needs. Backups may run meanwhile."""
    from novafleet.app import retention as use_case
    from novafleet.app.wiring import SystemClock
    from novafleet.report.repoprogress import Steps
    from novafleet.report.retention import show_pruned
    from novafleet.repository.collected import Rules

    counts = {"last": keep_last, "hourly": keep_hourly, "daily": keep_daily}
    counts |= {"weekly": keep_weekly, "monthly": keep_monthly, "yearly": keep_yearly}
    key = guarded(lambda: _key(key_file, passphrase), output)
    rules = guarded(lambda: _rules(counts, keep_within, vm, keep_tag), output)
    limits = guarded(lambda: Rules(grace=seconds_of(grace, "--grace")), output)
    with Steps() as steps:
        done = run(
            lambda: use_case.prune(repo, key, rules, SystemClock(), limits=limits, dry=dry_run, progress=steps),
            form=output,
            timeout=timeout,
        )
    show_pruned(done, output)


def hold(
    snapshots: Snapshots = None,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown when somebody asks.")] = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """Keep snapshots whatever a policy says; without any, list those that are held."""
    from novafleet.app import retention as use_case
    from novafleet.app.wiring import SystemClock
    from novafleet.report.retention import show_holds

    key, names = guarded(lambda: _key(key_file, passphrase), output), snapshots or []
    if names:
        run(lambda: use_case.hold(repo, key, names, reason, SystemClock()), form=output)
    show_holds(run(lambda: use_case.held(repo, key), form=output), output)


def release(
    snapshots: Annotated[list[str], typer.Argument(metavar="SNAPSHOT...", help="Ids, or their beginnings.")],
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """End the hold of snapshots: from now on a policy may forget them."""
    from novafleet.app import retention as use_case
    from novafleet.report.retention import show_released

    key = guarded(lambda: _key(key_file, passphrase), output)
    show_released(run(lambda: use_case.release(repo, key, snapshots), form=output), output)
