"""``backup run|ls|show|diff|verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novafleet.cli import browse, drill, retention
from novafleet.cli.options import Inventory, KeyFile, LockWait, Output, OutputForm, Passphrase, Repo, Timeout
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.values import bytes_of, seconds_of, word_of
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.app.backup import BackupRequest
    from novafleet.report.progress import RunProgress
    from novafleet.repository import KeySource

app = typer.Typer(help="Backups of VMs: full once, from then on only what changed.", no_args_is_help=True)

CONSISTENCIES = ("auto", "crash", "fs")

Vms = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VM]...", help="A domain's name or glob, HOST/DOMAIN or ENV/NAME.", show_default=False),
]
SnapshotId = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its id, or the beginning of it.")]
OfEnvironment = Annotated[
    str, typer.Option("--environment", metavar="ENV", help="Only VMs of this environment; alone: all of them.")
]
Full = Annotated[bool, typer.Option("--full", help="Read everything; nothing is inherited.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show how each disk would be read, and why.")]
FreezeGuest = Annotated[
    str,
    typer.Option(
        "--consistency",
        metavar="auto|crash|fs",
        help="Freeze the guest's file systems through its agent: if it is there, never, or else fail.",
    ),
]
Bandwidth = Annotated[
    str, typer.Option("--bandwidth", metavar="BYTES", help="Read at most so much a second, all VMs together: 50MiB.")
]
Parallel = Annotated[int, typer.Option("--parallel", min=1, metavar="N", help="VMs at once.")]
PerHost = Annotated[int, typer.Option("--per-host", min=1, metavar="N", help="VMs at once of one host.")]
PerDatastore = Annotated[
    int,
    typer.Option(
        "--per-datastore", min=0, metavar="N", help="VMs at once with disks on one file system or device; 0: no limit."
    ),
]
Latency = Annotated[
    str,
    typer.Option("--latency", metavar="TIME", help="Pause while a disk request of the guest takes longer: 50ms."),
]
HookWords = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        metavar="PLACE=PATH",
        help="Run a script: guest_pre, guest_post, host_pre or host_post; may repeat.",
    ),
]
HookTimeout = Annotated[float, typer.Option("--hook-timeout", metavar="SECONDS", help="How long each may take.")]
HookError = Annotated[
    str, typer.Option("--hook-on-error", metavar="fail|warn", help="What becomes of the backup when one fails.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TEXT", help="Keep with the snapshot; may repeat.")]


def key_of(file: Path | None, passphrase: str) -> KeySource:
    """The key the options name. Raises ConfigError NF-REPO-041."""
    from novafleet.app.repository import key_source

    return key_source(file, passphrase)


@app.command("run")
def run_(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: OfEnvironment = "",
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    full: Full = False,
    dry_run: DryRun = False,
    consistency: FreezeGuest = "auto",
    bandwidth: Bandwidth = "",
    parallel: Parallel = 8,
    per_host: PerHost = 2,
    per_datastore: PerDatastore = 0,
    latency: Latency = "",
    hook: HookWords = None,
    hook_timeout: HookTimeout = 60.0,
    hook_on_error: HookError = "fail",
    tag: Tags = None,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Back VMs up: full once, from then on what their bitmaps say has changed. Any domain, running or off."""
    given = {key: value for key, value in locals().items() if key != "context"}
    request = guarded(lambda: _request(context, given), output)
    _run(request, output, timeout, dry=dry_run)


def _request(context: typer.Context, given: dict[str, Any]) -> BackupRequest:
    from novafleet.app.backup import BackupRequest
    from novafleet.app.backuphooks import rules_of
    from novafleet.model.policy import BackupLimits

    return BackupRequest(
        inventory=inventory_of(context, given["inventory"]),
        patterns=tuple(given["vms"] or ()),
        repository=given["repo"],
        key=key_of(given["key_file"], given["passphrase"]),
        environment=given["environment"],
        full=given["full"],
        consistency=word_of(given["consistency"], CONSISTENCIES, "--consistency"),
        limits=BackupLimits(
            bytes_of(given["bandwidth"], "--bandwidth"),
            given["per_host"],
            given["per_datastore"],
            seconds_of(given["latency"], "--latency"),
        ),
        parallel=given["parallel"],
        hooks=rules_of(given["hook"] or (), given["hook_timeout"], given["hook_on_error"]),
        tags=tuple(given["tag"] or ()),
        lock_wait=given["lock_wait"],
    )


def _run(request: BackupRequest, output: OutputForm, timeout: float, *, dry: bool) -> None:
    from novafleet.app.backup import plan_backup, run_backup

    def watch(total: int) -> RunProgress:
        from novafleet.report.progress import RunProgress

        return RunProgress(total)

    later = ("novafleet.report.progress", "novafleet.report.backup")
    work = (lambda: plan_backup(request)) if dry else (lambda: run_backup(request, watch))
    done = run(work, form=output, timeout=timeout, then=later)
    from novafleet.report.backup import show_run

    show_run(done, output)
    _leave(done.exit_code)


@app.command("ls")
def ls(
    vms: Vms = None,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """The snapshots a repository holds, oldest first."""
    from novafleet.app.stored import ls as use_case
    from novafleet.report.backup import show_list

    key = guarded(lambda: key_of(key_file, passphrase), output)
    found = run(lambda: use_case(repo, key, tuple(vms or ())), form=output)
    show_list(found, output)
    _leave(ExitCode.FAILED if found.damage else ExitCode.OK)


@app.command("show")
def show(
    snapshot: SnapshotId,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """One snapshot: its disks, how each was read and why, the files kept beside them, and its drills."""
    from novafleet.app.stored import show as use_case
    from novafleet.report.backup import show_snapshot

    key = guarded(lambda: key_of(key_file, passphrase), output)
    show_snapshot(*run(lambda: use_case(repo, key, snapshot), form=output), output)


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A snapshot's id, or the beginning of it.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one of the same VM.")],
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """How many bytes of each disk differ between two snapshots of one VM."""
    from novafleet.app.stored import diff as use_case
    from novafleet.report.backup import show_difference

    key = guarded(lambda: key_of(key_file, passphrase), output)
    show_difference(run(lambda: use_case(repo, key, before, after), form=output), output)


@app.command("verify")
def verify(
    snapshots: Annotated[list[str], typer.Argument(metavar="SNAPSHOT...", help="Ids, or their beginnings.")],
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Read snapshots back from the repository, every byte, and say the SHA-256 of each disk."""
    from novafleet.app.stored import Verification
    from novafleet.app.stored import verify as use_case
    from novafleet.report.backup import Reading, show_verified

    key = guarded(lambda: key_of(key_file, passphrase), output)

    async def work() -> Sequence[Verification]:
        with Reading() as tell:
            return [await use_case(repo, key, each, tell) for each in snapshots]

    done = run(work, form=output, timeout=timeout)
    show_verified(done, output)
    _leave(max(each.exit_code for each in done))


def _leave(status: ExitCode) -> None:
    if status is not ExitCode.OK:
        raise typer.Exit(int(status))


retention.register(app)
drill.register(app)
browse.register(app)
