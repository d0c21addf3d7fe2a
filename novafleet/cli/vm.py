"""``vm ls``."""

from __future__ import annotations

import typer

from novafleet.cli.options import Inventory, Limit, Output, OutputForm, Timeout
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.errors import ExitCode

app = typer.Typer(help="Virtual machines, whoever made them.", no_args_is_help=True)


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
