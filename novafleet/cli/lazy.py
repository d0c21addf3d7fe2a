"""Commands whose modules are loaded when their word is used: a verb pays for what it needs only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

COMMANDS = {
    "validate": "environment.validate",
    "plan": "environment.plan",
    "up": "environment.up",
    "status": "environment.status",
    "down": "environment.down",
    "resume": "runs.resume",
    "init": "project.init",
    "host": "host.app",
    "vm": "vm.app",
    "snapshot": "snapshot.app",
    "migrate": "migrate.app",
    "rebalance": "drain.rebalance",
    "whatif": "whatif.app",
    "job": "job.app",
    "backup": "backup.app",
    "restore": "restore.restore",
    "repo": "repo.app",
    "runs": "runs.app",
    "schedule": "schedule.app",
    "lab": "lab.app",
}
"""Word -> MODULE.NAME in novafleet.cli: a function for a verb, an ``app`` for NOUN VERB. In the order of ``--help``."""


class LazyGroup(TyperGroup):
    """The commands of ``COMMANDS``, each loaded on its first use."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """All words; none is loaded."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        """The command of a word. For an unknown word all are loaded, so that the nearest can be named."""
        for word in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if word not in self.commands:
                self.commands[word] = _load(word)
        return self.commands.get(cmd_name)


def _load(word: str) -> Any:
    module, _, name = COMMANDS[word].partition(".")
    found = getattr(import_module(f"novafleet.cli.{module}"), name)
    holder = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=word)
    else:
        holder.command(word)(found)
    return get_group(holder).commands[word]
