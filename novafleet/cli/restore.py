"""``restore``: to a file here, to a host under a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novafleet.cli.backup import key_of
from novafleet.cli.consent import agreed
from novafleet.cli.options import Inventory, KeyFile, LockWait, Output, OutputForm, Passphrase, Repo, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.values import pairs_of
from novafleet.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from novafleet.app.restore import RestoreRequest, VmRestored
    from novafleet.app.restorefile import FileRequest

What = Annotated[
    str,
    typer.Argument(metavar="SNAPSHOT", help="Its id, or the beginning of it; with --until a VM: NAME, HOST/DOMAIN."),
]
Until = Annotated[
    str, typer.Option("--until", metavar="TIME", help="The VM's newest snapshot up to then: 2026-11-21T08:30.")
]
DiskName = Annotated[str, typer.Option("--disk", metavar="NAME", help="Only this disk.")]
ToFile = Annotated[
    Path | None, typer.Option("--to-file", metavar="PATH", help="Write one disk to an image file on this machine.")
]
Format = Annotated[str, typer.Option("--format", metavar="raw|qcow2", help="Of that file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
HostName = Annotated[str, typer.Option("--host", metavar="HOST", help="Make the VM on this host; default: its own.")]
As = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Under this name; default: its own. A copy gets new MAC addresses.")
]
Pool = Annotated[str, typer.Option("--pool", metavar="NAME", help="The host's storage pool its disks go to.")]
Networks = Annotated[
    list[str] | None, typer.Option("--network", metavar="OLD=NEW", help="Connect it to another one; may repeat.")
]
InPlace = Annotated[
    bool,
    typer.Option("--in-place", help="Give the VM itself its disks back; it must be off, what it has is kept beside."),
]
Instant = Annotated[
    bool, typer.Option("--instant", help="Start it at once on what lies in the repository; stream its disks meanwhile.")
]
StackName = Annotated[str, typer.Option("--stack", metavar="NAME", help="The snapshot is this container stack's.")]
Start = Annotated[
    bool | None,
    typer.Option(
        "--start/--no-start", help="Start it when it is there; default: a stack, not a VM.", show_default=False
    ),
]


def restore(
    context: typer.Context,
    snapshot: What,
    inventory: Inventory = None,
    until: Until = "",
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    disk: DiskName = "",
    to_file: ToFile = None,
    form: Format = "raw",
    force: Force = False,
    host: HostName = "",
    name: As = "",
    pool: Pool = "default",
    network: Networks = None,
    in_place: InPlace = False,
    instant: Instant = False,
    stack: StackName = "",
    start: Start = None,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Bring back a VM, a disk of it, or a container stack, as it was when the snapshot was taken."""
    given = {key: value for key, value in locals().items() if key != "context"}
    if to_file is not None:
        _to_file(guarded(lambda: _file_request(given), output), output, timeout)
        return
    request = guarded(lambda: _vm_request(context, given), output)
    _leave(_to_host(request, output, timeout, yes=yes), output)


def _file_request(given: dict[str, Any]) -> FileRequest:
    from novafleet.app.restorefile import FileRequest
    from novafleet.app.restorepoint import moment

    if not given["disk"] or given["host"] or given["name"]:
        raise ConfigError("--to-file takes one disk: --disk NAME, and no host", code="NF-BAK-040")
    return FileRequest(
        repository=given["repo"],
        key=key_of(given["key_file"], given["passphrase"]),
        snapshot=given["snapshot"],
        disk=given["disk"],
        path=given["to_file"],
        format=given["form"],
        force=given["force"],
        until=moment(given["until"]),
    )


def _to_file(request: FileRequest, output: OutputForm, timeout: float) -> None:
    from novafleet.app.restorefile import FileRestored, restore_file
    from novafleet.report.backup import Reading
    from novafleet.report.restore import show_file

    async def work() -> FileRestored:
        with Reading() as tell:
            return await restore_file(request, tell)

    show_file(run(work, form=output, timeout=timeout), output)


def _vm_request(context: typer.Context, given: dict[str, Any]) -> RestoreRequest:
    from novafleet.app.restore import RestoreRequest
    from novafleet.app.restorepoint import moment

    if not (given["host"] or given["name"] or given["in_place"] or given["stack"]):
        hint = "--disk NAME --to-file PATH, --host HOST --as NAME, or --in-place"
        raise ConfigError("say where to", code="NF-BAK-040", hints=(hint,))
    if given["disk"] and (given["stack"] or not given["in_place"]):
        raise ConfigError("--disk goes with --to-file or --in-place", code="NF-BAK-040")
    return RestoreRequest(
        inventory=inventory_of(context, given["inventory"]),
        repository=given["repo"],
        key=key_of(given["key_file"], given["passphrase"]),
        snapshot=given["snapshot"],
        host=given["host"],
        name=given["name"],
        until=moment(given["until"]),
        pool=given["pool"],
        networks=pairs_of(given["network"], "--network"),
        disk=given["disk"],
        in_place=given["in_place"],
        instant=given["instant"],
        start=given["start"],
        stack=given["stack"],
        lock_wait=given["lock_wait"],
    )


def _to_host(request: RestoreRequest, output: OutputForm, timeout: float, *, yes: bool) -> VmRestored:
    from novafleet.app.restore import restore_disks_in_place, restore_to_host
    from novafleet.app.restorestack import restore_stack_to_host
    from novafleet.report.progress import RunProgress

    def work() -> Any:
        of_vm = restore_disks_in_place if request.in_place else restore_to_host
        use_case = restore_stack_to_host if request.stack else of_vm
        return use_case(request, lambda question: yes or agreed(question), RunProgress)

    done: VmRestored = run(work, form=output, timeout=timeout)
    return done


def _leave(done: VmRestored, output: OutputForm) -> None:
    from novafleet.report.restore import show_vm

    show_vm(done, output)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
