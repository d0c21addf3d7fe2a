"""``vm ls|show|start|stop|restart``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, Limit, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.selection import Env, EnvFile, Vms, selected
from novafleet.cli.values import seconds_of
from novafleet.errors import ExitCode

app = typer.Typer(help="Virtual machines, whoever made them.", no_args_is_help=True)

Grace = Annotated[
    str,
    typer.Option(
        "--grace", metavar="TIME", help="How long a guest may take to power itself off; then its plug is pulled."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Pull the plug at once, as a power cut would.")]


@app.command("ls")
def ls(
    context: typer.Context,
    inventory: Inventory = None,
    limit: Limit = "",
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Every VM on every host: state, size, and the environment it belongs to."""
    from novafleet.app.vm import ls as use_case

    paths = guarded(lambda: inventory_of(context, inventory), output)
    listing = run(lambda: use_case(paths, limit), form=output, timeout=timeout, then=("novafleet.report.vm",))

    from novafleet.report.vm import show

    show(listing, output)
    if listing.unreachable:
        raise typer.Exit(ExitCode.PARTIAL if listing.vms else ExitCode.UNREACHABLE)


@app.command("show")
def show(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """What VMs are made of: hardware, disks, networks and the addresses they can be reached at."""
    from novafleet.app.vmshow import show as use_case
    from novafleet.report.vm import details

    asked = guarded(lambda: selected(context, inventory, vms, environment, file), output)
    found = run(lambda: use_case(asked), form=output, timeout=timeout)
    details(found, output)
    if found.failed:
        raise typer.Exit(ExitCode.PARTIAL if found.vms else ExitCode.FAILED)


@app.command("start")
def start(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Start VMs, and let paused ones go on. One that runs on another host is not started a second time."""
    _switch("start", context, inventory, vms, environment, file, lock_wait, output, timeout)


@app.command("stop")
def stop(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    grace: Grace = "30s",
    force: Force = False,
    lock_wait: LockWait = 0.0,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Shut VMs down; the next `up` of their environment starts them again."""
    _switch(
        "stop", context, inventory, vms, environment, file, lock_wait, output, timeout,
        grace="" if force else grace, yes=yes,
    )  # fmt: skip


@app.command("restart")
def restart(
    context: typer.Context,
    vms: Vms = None,
    inventory: Inventory = None,
    environment: Env = "",
    file: EnvFile = None,
    grace: Grace = "30s",
    force: Force = False,
    lock_wait: LockWait = 0.0,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Shut VMs down and start them again with a new QEMU, so that a changed definition counts."""
    _switch(
        "restart", context, inventory, vms, environment, file, lock_wait, output, timeout,
        grace="" if force else grace, yes=yes,
    )  # fmt: skip


def _switch(
    verb: str,
    context: typer.Context,
    inventory: Sequence[Path] | None,
    vms: Sequence[str] | None,
    environment: str,
    file: Path | None,
    lock_wait: float,
    output: OutputForm,
    timeout: float,
    *,
    grace: str = "",
    yes: bool = True,
) -> None:
    from novafleet.app.vmpower import Power, switch
    from novafleet.report.progress import RunProgress
    from novafleet.report.vm import switched

    asked, seconds = guarded(
        lambda: (selected(context, inventory, vms, environment, file, lock_wait), seconds_of(grace, "--grace")), output
    )
    confirm = confirmation(yes=yes)
    done = run(lambda: switch(asked, Power(verb), RunProgress, confirm, grace=seconds), form=output, timeout=timeout)
    switched(done, output)
    if done.exit_code is not ExitCode.OK:
        raise typer.Exit(int(done.exit_code))
