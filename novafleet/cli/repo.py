"""``repo init|ls|info|check|scrub|repair|copy|stats|key``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli import backup, repokey
from novafleet.cli.backup import key_of
from novafleet.cli.options import KeyFile, Output, OutputForm, Passphrase, RepoUrl, Timeout
from novafleet.cli.run import guarded, run
from novafleet.cli.values import bytes_of, share_of
from novafleet.errors import ExitCode

app = typer.Typer(help="Backup repositories: make, inspect, check, mend, copy; their keys.", no_args_is_help=True)
app.add_typer(repokey.app, name="key")


@app.command("init")
def init(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a recovery sheet with a key of its own here.")
    ] = None,
    cell: Annotated[str, typer.Option(metavar="BYTES", help="Grid disks are cut along: 256KiB to 4MiB.")] = "1MiB",
    single_writer: Annotated[
        bool, typer.Option("--single-writer", help="Accept a store that cannot keep two writers apart.")
    ] = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Make a repository. A key file that does not exist is made: 32 random bytes that only you can read."""
    from novafleet.app.repo import InitRequest
    from novafleet.app.repo import init as use_case
    from novafleet.report.repo import show_initialized

    request = guarded(
        lambda: InitRequest(url, key_of(key_file, passphrase), bytes_of(cell, "--cell"), sheet, single_writer), output
    )
    show_initialized(run(lambda: use_case(request), form=output, timeout=timeout), output)


@app.command("ls")
def ls(
    url: RepoUrl = "", key_file: KeyFile = None, passphrase: Passphrase = "", output: Output = OutputForm.TABLE
) -> None:
    """The snapshots it holds, oldest first (as `backup ls`)."""
    backup.ls(None, url, key_file, passphrase, output)


@app.command("info")
def info(
    url: RepoUrl = "", key_file: KeyFile = None, passphrase: Passphrase = "", output: Output = OutputForm.TABLE
) -> None:
    """What it is: id, sizes, keys, who writes to it now, what waits for deletion."""
    from novafleet.app.repo import info as use_case
    from novafleet.report.repo import show_info

    key = guarded(lambda: key_of(key_file, passphrase), output)
    show_info(run(lambda: use_case(url, key), form=output), output)


@app.command("check")
def check(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    read_data: Annotated[bool, typer.Option("--read-data", help="Read and decode every pack too.")] = False,
    share: Annotated[
        str,
        typer.Option("--share", metavar="SHARE", help="With --read-data: only so many packs, at random: 5%."),
    ] = "100%",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Is everything there that snapshots need? Damage is listed by snapshot, disk and offset; then the status is 1."""
    from novafleet.app.repo import check as use_case
    from novafleet.report.repo import show_checked
    from novafleet.report.repoprogress import Steps

    key = guarded(lambda: key_of(key_file, passphrase), output)
    wanted = guarded(lambda: share_of(share, "--share"), output)
    with Steps() as steps:
        done = run(lambda: use_case(url, key, wanted if read_data else 0.0, steps), form=output, timeout=timeout)
    show_checked(done, output)
    if not done.clean:
        raise typer.Exit(int(ExitCode.FAILED))


@app.command("scrub")
def scrub(
    url: RepoUrl = "",
    share: Annotated[str, typer.Option("--share", metavar="SHARE", help="Only so many of the packs: 5%.")] = "100%",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Hash packs; needs no key, so the machine that stores a repository can do it. Status 1 when one is damaged."""
    from novafleet.app.repo import scrub as use_case
    from novafleet.report.repo import show_scrub
    from novafleet.report.repoprogress import Steps

    wanted = guarded(lambda: share_of(share, "--share"), output)
    with Steps() as steps:
        done = run(lambda: use_case(url, wanted, steps), form=output, timeout=timeout)
    show_scrub(done, output)
    if done.damaged:
        raise typer.Exit(int(ExitCode.FAILED))


@app.command("stats")
def stats(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """How much is in it, per VM and in all, and what deduplication and compression save."""
    from novafleet.app.repo import stats as use_case
    from novafleet.report.repo import show_stats
    from novafleet.report.repoprogress import Steps

    key = guarded(lambda: key_of(key_file, passphrase), output)
    with Steps() as steps:
        done = run(lambda: use_case(url, key, steps), form=output, timeout=timeout)
    show_stats(done, output)


@app.command("repair")
def repair(
    url: RepoUrl = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    read_data: Annotated[bool, typer.Option("--read-data", help="Read every pack to find damaged ones.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Make a replica a repository of its own.")] = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Make the index anew where it is wrong, put damaged packs aside so that the next backup stores them again."""
    from novafleet.app.repo import RepairRequest
    from novafleet.app.repo import repair as use_case
    from novafleet.app.wiring import SystemClock
    from novafleet.report.repo import show_repaired
    from novafleet.report.repoprogress import Steps

    key = guarded(lambda: key_of(key_file, passphrase), output)
    request = RepairRequest(read_data, promote)
    with Steps() as steps:
        done = run(lambda: use_case(url, key, SystemClock(), request, steps), form=output, timeout=timeout)
    show_repaired(done, output)
    if done.lost:
        raise typer.Exit(int(ExitCode.FAILED))


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="URL of the repository.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="URL of its replica: an empty place the first time.")],
    delete: Annotated[bool, typer.Option("--delete", help="Remove from it what the source has no more.")] = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Bring a replica elsewhere up to date; needs no key. Every pack is hashed on its way."""
    from novafleet.app.repo import copy as use_case
    from novafleet.app.wiring import SystemClock
    from novafleet.report.repo import show_copied
    from novafleet.report.repoprogress import Steps

    with Steps() as steps:
        done = run(
            lambda: use_case(source, target, SystemClock(), delete=delete, progress=steps), form=output, timeout=timeout
        )
    show_copied(done, output)
    if done.damaged:
        raise typer.Exit(int(ExitCode.FAILED))
