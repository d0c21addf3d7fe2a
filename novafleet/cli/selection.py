"""Which VMs a verb is about: arguments and options that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.run import inventory_of
from novafleet.errors import ConfigError

if TYPE_CHECKING:
    from novafleet.app.party import Selected

Vms = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VM]...", help="A domain's name or glob, HOST/DOMAIN or ENV/NAME.", show_default=False),
]
Env = Annotated[str, typer.Option("--environment", metavar="ENV", help="All VMs of this environment.")]
EnvFile = Annotated[
    Path | None, typer.Option("--file", "-f", metavar="FILE", help="All VMs of the environment in this file.")
]


def selected(
    context: typer.Context,
    inventory: Sequence[Path] | None,
    patterns: Sequence[str] | None,
    environment: str,
    file: Path | None,
    lock_wait: float = 0.0,
) -> Selected:
    """The VMs the options mean. Raises ConfigError."""
    from novafleet.app.party import Selected

    if file is not None:
        environment = _environment_of(file)
    return Selected(inventory_of(context, inventory), tuple(patterns or ()), environment, lock_wait)


def _environment_of(file: Path) -> str:
    """The ``environment:`` of a file, which need not be valid otherwise. Raises ConfigError."""
    from novafleet.source.load import load

    named = load(file).fields.get("environment")
    if named is None or not isinstance(named.value, str) or "${" in named.value:
        hints = ("or name it: --environment ENV",)
        raise ConfigError("the file names no environment", code="NF-CFG-005", where=str(file), hints=hints)
    return named.value
