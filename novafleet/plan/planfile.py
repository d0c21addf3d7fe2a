"""A plan on disk: what ``plan --out`` writes and ``up PLANFILE`` checks against the world before it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from novafleet.errors import ConfigError, Location, StalePlanError
from novafleet.model.encode import decode, encode
from novafleet.model.plan import Plan, ResourceChange

FORMAT = "novafleet-plan/1"


def dump(plan: Plan, request: Mapping[str, Any]) -> str:
    """The file's text: the plan and the request that makes it again."""
    return json.dumps({"format": FORMAT, "request": request, "plan": encode(plan)}, indent=1) + "\n"


def is_plan(text: str) -> bool:
    """Does this text look like a plan file (and not like YAML)?"""
    return text.lstrip().startswith("{") and FORMAT in text[:200]


def load(text: str, file: str) -> tuple[Plan, Mapping[str, Any]]:
    """The plan and its request. Raises ConfigError NF-PLAN-010 for anything else."""
    try:
        document = json.loads(text)
        return decode(Plan, document["plan"]), document["request"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "not a plan file of this version",
            code="NF-PLAN-010",
            where=Location(file),
            cause=str(error),
            hints=("make it again: novafleet plan FILE --out PLAN",),
        ) from error


def refuse_stale(saved: Plan, fresh: Plan) -> None:
    """Raise StalePlanError unless planning again gives the very same changes."""
    before, after = _by_address(saved), _by_address(fresh)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if differing:
        raise StalePlanError(
            "the world or the file changed since this plan was made",
            where=saved.environment,
            cause="differs now: " + ", ".join(differing[:10]),
            hints=("look again: novafleet plan FILE",),
        )


def _by_address(plan: Plan) -> Mapping[str, ResourceChange]:
    return {change.address: change for change in plan.changed}
