"""``snapshot export|import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.selection import selected
from novafleet.cli.snapshotargs import MODES, finish
from novafleet.cli.values import pairs_of, word_of
from novafleet.errors import ExitCode


def export(
    context: typer.Context,
    vm: Annotated[str, typer.Argument(metavar="VM", help="A domain's name, HOST/DOMAIN or ENV/NAME.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to make, on this machine.")],
    inventory: Inventory = None,
    names: Annotated[
        list[str] | None, typer.Option("--snapshot", metavar="NAME", help="Only this one; may repeat; default: all.")
    ] = None,
    mode: Annotated[str, typer.Option(metavar="crash|fs", help="How the VM is frozen for it.")] = "fs",
    require: Annotated[str, typer.Option(metavar="MODE", help="Refuse rather than take less than this.")] = "",
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Write a VM with its snapshots, UEFI variables and TPM state to one file."""
    from novafleet.app.snapshotexport import export_vm
    from novafleet.report.progress import RunProgress

    asked = guarded(lambda: selected(context, inventory, (vm,), "", None, lock_wait), output)
    guarded(lambda: word_of(mode, MODES[:2], "--mode") + word_of(require, ("", *MODES[:2]), "--require"), output)
    path = file.absolute()
    work = run(
        lambda: export_vm(asked, tuple(names or ()), path, RunProgress, mode=mode, require=require),
        form=output,
        timeout=timeout,
    )
    finish(work, output)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `export` made.")],
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Make the VM on this host.")],
    inventory: Inventory = None,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Under this name, as a copy with new UUID and MAC addresses.")
    ] = "",
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="The storage pool its disks go to.")] = "default",
    network: Annotated[
        list[str] | None, typer.Option("--network", metavar="OLD=NEW", help="Connect it to another one; may repeat.")
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it when it is there.")] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Make a VM with its snapshots out of an archive."""
    from novafleet.app.snapshotimport import ImportRequest, import_vm
    from novafleet.report.progress import RunProgress
    from novafleet.report.snapshot import imported

    request = guarded(
        lambda: ImportRequest(
            inventory_of(context, inventory),
            file.absolute(),
            host,
            name,
            pool,
            pairs_of(network, "--network"),
            start,
            lock_wait,
        ),
        output,
    )
    confirm = confirmation(yes=yes)
    done = run(
        lambda: import_vm(request, lambda question: confirm((question,)), RunProgress), form=output, timeout=timeout
    )
    imported(done, output)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
