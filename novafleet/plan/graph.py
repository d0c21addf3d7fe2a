"""From the capabilities' changes to one plan: tree order, targets, and a check that the edges make a DAG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from novafleet.errors import ConfigError
from novafleet.model.plan import Change, Impact, Plan, ResourceChange, Step

KINDS = ("host", "image", "network", "volume", "vm", "stack")


def tree_order(changes: Iterable[ResourceChange]) -> tuple[ResourceChange, ...]:
    """Changes by kind, then name: the order a person reads them in."""
    return tuple(sorted(changes, key=lambda change: (KINDS.index(change.kind), change.name, change.host)))


def check_acyclic(steps: Iterable[Step]) -> None:
    """Raise ConfigError NF-CFG-040 naming the cycle, if there is one."""
    try:
        TopologicalSorter({step.id: step.after for step in steps}).prepare()
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ConfigError("the steps wait for each other", code="NF-CFG-040", cause=cycle) from error


def restrict(plan: Plan, targets: Iterable[str]) -> Plan:
    """Only the targets and what they need first. Raises ConfigError NF-PLAN-011 for an unknown address."""
    wanted = set(targets)
    if not wanted:
        return plan
    known = {change.address for change in plan.changes} | {change.address.partition("@")[0] for change in plan.changes}
    if unknown := sorted(wanted - known):
        raise ConfigError(
            f"no resource {unknown[0]} in this plan",
            code="NF-PLAN-011",
            where=plan.environment,
            hints=("addresses: " + ", ".join(sorted(known)[:12]),),
        )
    kept = _closure(plan, wanted)
    changes = tuple(change for change in plan.changes if change.address in kept)
    return Plan(plan.environment, plan.intent, changes, plan.digest, plan.unreachable)


def _closure(plan: Plan, wanted: set[str]) -> set[str]:
    owner = {step.id: change.address for change in plan.changes for step in change.steps}
    needs = {
        change.address: {owner[after] for step in change.steps for after in step.after if after in owner}
        for change in plan.changes
    }
    kept = {address for address in needs if address in wanted or address.partition("@")[0] in wanted}
    queue = list(kept)
    while queue:
        for address in needs[queue.pop()] - kept:
            kept.add(address)
            queue.append(address)
    return kept


def data_loss(plan: Plan) -> tuple[ResourceChange, ...]:
    """The changes that destroy data."""
    return tuple(change for change in plan.changed if change.impact is Impact.DATA_LOSS)


def counts(plan: Plan) -> Mapping[str, int]:
    """``{add, change, replace, destroy}`` for the summary line."""
    names = {Change.CREATE: "add", Change.UPDATE: "change", Change.REPLACE: "replace", Change.DELETE: "destroy"}
    totals = dict.fromkeys(names.values(), 0)
    for change in plan.changed:
        totals[names[change.change]] += 1
    return totals


def hosts(plan: Plan) -> tuple[str, ...]:
    """Hosts a step of the plan changes: each needs our lease."""
    return tuple(sorted(set(_mutated(plan))))


def _mutated(plan: Plan) -> Iterator[str]:
    return (step.host for step in plan.steps if not step.check)
