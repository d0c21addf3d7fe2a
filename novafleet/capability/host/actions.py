"""What stands for a host that could not be observed, so that whatever depends on it is skipped with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from novafleet.model.plan import StepClass
from novafleet.observe.facts import error_of
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


async def require(context: ActionContext, args: Mapping[str, Json]) -> Outcome:  # noqa: ARG001 - every action takes both
    """Fail as the host did when it was observed, even if it came back since: nothing was planned for it."""
    raise error_of(context.facts)


ACTIONS: Registry = {"host.require": Action(require, StepClass.CONVERGENT)}
