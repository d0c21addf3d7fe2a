"""``migrate recover|history``."""

from __future__ import annotations

from typing import Annotated

import typer

from novafleet.cli.options import Inventory, LockWait, Output, OutputForm, Timeout
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.errors import ExitCode


def recover(
    context: typer.Context,
    vms: Annotated[list[str] | None, typer.Argument(metavar="[VM...]", help="Only these; default: all.")] = None,
    inventory: Inventory = None,
    explain: Annotated[bool, typer.Option("--explain", help="Facts, rule and action; touch nothing.")] = False,
    consent: Annotated[
        list[str] | None, typer.Option("--consent", metavar="WORD", help="gates: end it without asking the VM's gates.")
    ] = None,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """End or take back migrations that were cut off, by what both hosts show now. Never starts a second copy."""
    from novafleet.app.recover import recover as use_case
    from novafleet.app.recovery import Order
    from novafleet.report.recover import show

    where = guarded(lambda: inventory_of(context, inventory), output)
    order = Order(explain, lock_wait, frozenset(consent or ()))
    result = run(lambda: use_case(where, tuple(vms or ()), order), form=output, timeout=timeout)
    show(result, output)
    if result.exit_code is not ExitCode.OK:
        raise typer.Exit(int(result.exit_code))


def history(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many, the latest.")] = 20,
    output: Output = OutputForm.TABLE,
) -> None:
    """The latest migrations of this controller: what was foretold, and what was measured."""
    from novafleet.app.migratehistory import history as use_case
    from novafleet.app.wiring import Places
    from novafleet.report.migratehistory import show

    show(guarded(lambda: use_case(Places.of_user(), limit), output), output)
