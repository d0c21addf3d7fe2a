"""``host facts``: what the collectors tell of hosts, a project's own among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novafleet.app.exec import HostOutcome, outcome_of
from novafleet.app.wiring import open_world
from novafleet.errors import ConfigError, NovaFleetError
from novafleet.execute.gather import collect
from novafleet.inventory import select
from novafleet.observe.registry import Description, collectors, describe, project_folder
from novafleet.transport.fanout import fan_out

if TYPE_CHECKING:
    from novafleet.model.fleet import Host


@dataclass(frozen=True, slots=True)
class Told:
    """One host: a document per collector, or why there is none. ``outcome`` as of ``host exec``."""

    host: str
    outcome: HostOutcome
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: Mapping[str, object] | None = None


def listed(inventory: Sequence[Path]) -> tuple[Description, ...]:
    """The collectors there are. Raises ConfigError NF-COL-001."""
    return describe(project_folder(inventory))


async def facts(
    inventory: Sequence[Path], names: Sequence[str] = (), limit: str = "", forks: int = 100
) -> tuple[Told, ...]:
    """Ask the named collectors (none named: all but expensive ones) on the selected hosts, in one command each.

    Raises ConfigError NF-COL-001 for a collector that is not there or cannot be loaded, NF-COL-002 for a parser of
    which that is known only now.
    """
    project = project_folder(inventory)
    described = {each.name: each for each in describe(project)}
    wanted = names or [each.name for each in described.values() if each.cost != "expensive"]
    asked = collectors(dict.fromkeys(wanted), project)
    seconds = math.ceil(max((described[each.name].timeout for each in asked), default=0))
    async with open_world(inventory) as world:

        async def work(host: Host) -> Told:
            try:
                return Told(host.name, HostOutcome.OK, await collect(world.sessions, host, asked, seconds))
            except ConfigError:
                raise
            except NovaFleetError as error:
                return Told(host.name, outcome_of(error), error=error.at(host.name).finding())

        return await fan_out(select(world.fleet, "all", limit), work, forks=forks)
