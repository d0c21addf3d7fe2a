"""The file an environment was last brought up from on this controller."""

from __future__ import annotations

from novafleet.app.plan import load
from novafleet.app.wiring import World
from novafleet.model.encode import decode
from novafleet.model.request import EnvironmentRequest
from novafleet.playbook import Draft
from novafleet.store.journal import Journal

REMEMBERED = 20
"""Runs of an environment looked through for its file."""


async def last_up(world: World, journal: Journal, environment: str) -> Draft | None:
    """Read as it is now; None when it was never brought up from here. Raises ConfigError where it cannot be read."""
    runs = await journal.runs(environment, REMEMBERED)
    request = next((run.request for run in runs if run.verb == "up" and run.request.get("file")), None)
    return load(world, decode(EnvironmentRequest, request)) if request is not None else None
