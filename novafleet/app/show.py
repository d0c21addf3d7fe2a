"""``plan``: the plan of ``up``, shown or saved."""

from __future__ import annotations

import os
from pathlib import Path

from novafleet.app.plan import make_plan
from novafleet.app.wiring import open_world
from novafleet.errors import ConfigError
from novafleet.model.encode import encode
from novafleet.model.plan import Plan
from novafleet.model.request import EnvironmentRequest
from novafleet.plan.planfile import dump


async def plan_up(request: EnvironmentRequest, out: Path | None = None) -> Plan:
    """Observe and plan; with ``out`` save the plan for ``up PLAN`` (mode 0600)."""
    async with open_world([Path(path) for path in request.inventory]) as world:
        planned = await make_plan(world, request, "up")
    if out is not None:
        _save(out, dump(planned.plan, encode(request)))
    return planned.plan


def _save(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError("cannot save the plan", code="NF-PLAN-012", where=str(path), cause=str(error)) from error
