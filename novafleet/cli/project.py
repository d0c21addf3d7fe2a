"""``novafleet init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.run import guarded


def init(
    directory: Annotated[Path, typer.Argument(help="Where; made if missing.")] = Path(),
) -> None:
    """Start a fleet project: inventory, playbooks, templates and collectors to edit."""
    from novafleet.app.project import scaffold

    for path in guarded(lambda: scaffold(directory)):
        typer.echo(path)
