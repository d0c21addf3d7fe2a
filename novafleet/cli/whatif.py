"""``whatif host-down|drain|add``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.options import Inventory, Limit, Output, OutputForm, Timeout
from novafleet.cli.run import guarded, inventory_of, run

app = typer.Typer(
    help="What would be, from what was seen last (drain, rebalance, --refresh); no host is asked.", no_args_is_help=True
)

HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host's name in the inventory.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Ask the hosts now, and remember.")]


@app.command("host-down")
def host_down(
    context: typer.Context,
    host: HostName,
    inventory: Inventory = None,
    limit: Limit = "",
    refresh: Refresh = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """A host fails: which VMs could be started elsewhere, and which not."""
    _ask(context, inventory, ("host-down", host, "", limit), output, timeout, refresh=refresh)


@app.command("drain")
def drain(
    context: typer.Context,
    host: HostName,
    inventory: Inventory = None,
    limit: Limit = "",
    refresh: Refresh = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """A host is emptied: where its VMs would go, and how full the others were then."""
    _ask(context, inventory, ("drain", host, "", limit), output, timeout, refresh=refresh)


@app.command("add")
def add(
    context: typer.Context,
    host: Annotated[str, typer.Argument(metavar="NAME", help="What the new host would be called.")],
    inventory: Inventory = None,
    like: Annotated[str, typer.Option("--like", metavar="HOST", help="As large as this host.")] = "",
    limit: Limit = "",
    refresh: Refresh = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """A host joins: what rebalancing would move there, and what the fleet could lose then."""
    _ask(context, inventory, ("add", host, like, limit), output, timeout, refresh=refresh)


def _ask(
    context: typer.Context,
    inventory: Sequence[Path] | None,
    words: tuple[str, str, str, str],
    output: OutputForm,
    timeout: float,
    *,
    refresh: bool,
) -> None:
    from novafleet.app.whatif import Question, ask
    from novafleet.report.whatif import show

    question = guarded(lambda: Question(inventory_of(context, inventory), *words, refresh), output)
    show(run(lambda: ask(question), form=output, timeout=timeout), output)
