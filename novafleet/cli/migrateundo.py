"""``migrate stack|undo|ls|prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.consent import confirmation
from novafleet.cli.options import Inventory, LockWait, Output, OutputForm, Timeout, Yes
from novafleet.cli.run import guarded, inventory_of, run
from novafleet.cli.values import seconds_of, word_of
from novafleet.errors import ExitCode

if TYPE_CHECKING:
    from novafleet.app.migratestack import StackRequest
    from novafleet.app.migrateundo import Kept

UndoMode = Annotated[str, typer.Option(metavar="MODE", help="live, postcopy, warm or cold; auto: the one it left by.")]


def stack(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="STACK", help="Its project, HOST/PROJECT or ENV/NAME.")],
    to: Annotated[str, typer.Option("--to", metavar="HOST", help="Where to.")],
    inventory: Inventory = None,
    keep: Annotated[
        str, typer.Option("--undo", metavar="TIME", help="How long `migrate undo` stays possible.")
    ] = "24h",
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would be like; change nothing.")] = False,
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Move a container stack to another host: images, bundle and named volumes."""
    from novafleet.app.migratestack import StackRequest
    from novafleet.app.migratestack import migrate_stack as use_case
    from novafleet.cli.migrate import finish
    from novafleet.report.progress import RunProgress

    request = guarded(
        lambda: StackRequest(inventory_of(context, inventory), name, to, seconds_of(keep, "--undo"), lock_wait), output
    )
    if plan:
        _plan(request, output, timeout)
        return
    finish(run(lambda: use_case(request, RunProgress, confirmation(yes=yes)), form=output, timeout=timeout), output)


def _plan(request: StackRequest, output: OutputForm, timeout: float) -> None:
    from novafleet.app.migratestack import stack_dossier
    from novafleet.report.stackdossier import show

    found = run(lambda: stack_dossier(request), form=output, timeout=timeout)
    show(found, output)
    if not found.possible:
        raise typer.Exit(int(ExitCode.FAILED))


def undo(
    context: typer.Context,
    vm: Annotated[str, typer.Argument(metavar="VM", help="A domain's name, HOST/DOMAIN or ENV/NAME.")],
    inventory: Inventory = None,
    mode: UndoMode = "auto",
    keep: Annotated[str, typer.Option("--undo", metavar="TIME", help="How long this can be undone itself.")] = "24h",
    yes: Yes = False,
    lock_wait: LockWait = 0.0,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Move a VM back to the host it came from, with the data it has now."""
    from novafleet.app.migrateundo import UndoRequest
    from novafleet.app.migrateundo import undo as use_case
    from novafleet.cli.migrate import MODES, finish
    from novafleet.model.migration import Mode
    from novafleet.report.progress import RunProgress

    request = guarded(
        lambda: UndoRequest(
            inventory_of(context, inventory),
            vm,
            Mode(word_of(mode, MODES, "--mode")),
            seconds_of(keep, "--undo"),
            lock_wait,
        ),
        output,
    )
    finish(run(lambda: use_case(request, RunProgress, confirmation(yes=yes)), form=output, timeout=timeout), output)


def ls(
    context: typer.Context,
    inventory: Inventory = None,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """What can be undone, and until when."""
    from novafleet.app.migrateundo import ls as use_case

    where = guarded(lambda: inventory_of(context, inventory), output)
    _show(run(lambda: use_case(where), form=output, timeout=timeout), output)


def prune(
    context: typer.Context,
    inventory: Inventory = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what could still be undone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Delete what sources keep of VMs that left, once its time is over."""
    from novafleet.app.migrateundo import prune as use_case

    where = guarded(lambda: inventory_of(context, inventory), output)
    found = run(
        lambda: use_case(where, confirmation(yes=yes), everything=everything, dry_run=dry_run),
        form=output,
        timeout=timeout,
    )
    _show(found, output)


def _show(found: Kept, form: str) -> None:
    from novafleet.report.migrateundo import show

    show(found, form)
    if found.exit_code is not ExitCode.OK:
        raise typer.Exit(int(found.exit_code))
