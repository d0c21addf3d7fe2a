"""``novafleet`` (``nf``): the everyday verbs at the top, everything else as NOUN VERB (see ``lazy.COMMANDS``)."""

from __future__ import annotations

from typing import Annotated

import typer

from novafleet import __version__
from novafleet.cli.lazy import LazyGroup
from novafleet.cli.options import Inventory

app = typer.Typer(
    name="novafleet",
    cls=LazyGroup,
    help="Agentless day-2 operations for KVM hosts you do not want to convert.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"novafleet {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    inventory: Inventory = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Agentless day-2 operations for KVM hosts you do not want to convert."""
    context.obj = tuple(inventory or ())
