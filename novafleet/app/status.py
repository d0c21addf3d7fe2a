"""``status``: observe, compare three ways, and ask each gate once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from novafleet.app.context import Reached, contexts, reach
from novafleet.app.plan import Planned, make_plan
from novafleet.app.wiring import World, open_world
from novafleet.capability.stack import bundle
from novafleet.capability.vm.drift import drift as vm_drift
from novafleet.execute.gate import probe_once
from novafleet.model import address
from novafleet.model.environment import Stack, Vm
from novafleet.model.facts import NO_ANSWER
from novafleet.model.plan import Change, ResourceChange, Step, StepClass
from novafleet.model.request import EnvironmentRequest
from novafleet.model.status import Drift, ResourceStatus

READY_STATES = frozenset({"running", "up"})


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """Every resource of an environment, in tree order."""

    environment: str
    resources: tuple[ResourceStatus, ...]
    unreachable: Mapping[str, str]


async def status(request: EnvironmentRequest) -> EnvironmentStatus:
    """Raises what planning raises; a host that cannot be observed shows as such."""
    async with open_world([Path(path) for path in request.inventory]) as world:
        planned = await make_plan(world, request, "up")
        rows = resource_rows(planned)
        rows = await with_readiness(world, planned, rows)
        return EnvironmentStatus(planned.environment.name, rows, planned.plan.unreachable)


def resource_rows(planned: Planned) -> tuple[ResourceStatus, ...]:
    """State and drift of every resource, from facts alone."""
    drifts = vm_drift(planned.environment, planned.facts)
    return tuple(_row(planned, change, drifts.get(change.address, ())) for change in planned.plan.changes)


def _row(planned: Planned, change: ResourceChange, drifts: Sequence[Drift]) -> ResourceStatus:
    found = tuple(drifts) if change.kind == "vm" else _drift_of(change)
    note = "; ".join(reason.text for reason in change.reasons) if change.change is Change.NONE else ""
    state = resource_state(planned, change)
    return ResourceStatus(change.kind, change.name, change.address, change.host, state, None, found, note)


def _drift_of(change: ResourceChange) -> tuple[Drift, ...]:
    if change.change is Change.NONE:
        return ()
    kind = {Change.CREATE: "missing", Change.DELETE: "orphan"}.get(change.change, "changed")
    if not change.reasons:
        return (Drift("", "present", "", "absent", kind),)
    return tuple(Drift(reason.field or reason.text, reason.after, "", reason.before, kind) for reason in change.reasons)


def resource_state(planned: Planned, change: ResourceChange) -> str:
    """The resource's state in the field's own word."""
    facts = planned.facts.hosts.get(change.host)
    if facts is None or facts.error:
        return "unreachable"
    if change.kind == "vm":
        return _vm_state(planned, change)
    if change.kind == "network":
        return _network_state(planned, change)
    if change.kind == "stack":
        return _stack_state(planned, change)
    return "absent" if change.change is Change.CREATE else "present"


def _vm_state(planned: Planned, change: ResourceChange) -> str:
    vm = planned.environment.vms.get(change.name)
    domain = planned.facts.hosts[change.host].domains.get(vm.domain if vm else change.name)
    if domain is None:
        return "absent"
    return NO_ANSWER if domain.reason == NO_ANSWER else domain.state


def _network_state(planned: Planned, change: ResourceChange) -> str:
    network = planned.environment.networks.get(change.name)
    name = network.libvirt_name if network else change.name
    fact = planned.facts.hosts[change.host].networks.get(name)
    if fact is None:
        return "present" if network and network.mode == "bridge" else "absent"
    return "active" if fact.active else "inactive"


def _stack_state(planned: Planned, change: ResourceChange) -> str:
    fact = planned.facts.hosts[change.host].stacks.get(f"{planned.environment.name}-{change.name}")
    if fact is None:
        return "absent"
    if not fact.containers:
        return "stopped"
    stack = planned.environment.stacks.get(change.name)
    expected = bundle.expected(stack) if stack else None
    left = [each for each in fact.containers if not (expected and expected.done(each))] or fact.containers
    running = sum(container.state == "running" for container in left)
    return "running" if running == len(left) else f"{running}/{len(left)} running"


async def with_readiness(world: World, planned: Planned, rows: Sequence[ResourceStatus]) -> tuple[ResourceStatus, ...]:
    """Ask the gates of what runs, all at once, each through its VM's host."""
    reached, _ = await reach(world, {row.host for row in rows if row.state in READY_STATES})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_with_readiness(world, planned, reached, row)) for row in rows]
    return tuple(task.result() for task in tasks)


async def _with_readiness(
    world: World, planned: Planned, reached: Mapping[str, Reached], row: ResourceStatus
) -> ResourceStatus:
    resource = _gated(planned, row)
    if resource is None or row.state == "unreachable":
        return row
    if row.state not in READY_STATES or row.host not in reached:
        return replace(row, ready=False)
    if not resource.ready:
        return replace(row, ready=True)
    step = Step(address.step(row.address, "ready"), "gate.wait", row.address, row.host, StepClass.CONVERGENT)
    context = contexts(world, reached, {}, planned.environment, planned.facts)(step)
    evidence = [await probe_once(context, gate, resource) for gate in resource.ready]
    missing = "; ".join(
        f"{gate.label}: {seen.text}" for gate, seen in zip(resource.ready, evidence, strict=True) if not seen.ok
    )
    return replace(row, ready=all(seen.ok for seen in evidence), note=missing or row.note)


def _gated(planned: Planned, row: ResourceStatus) -> Vm | Stack | None:
    table: Mapping[str, Vm | Stack] = planned.environment.vms if row.kind == "vm" else {}
    return planned.environment.stacks.get(row.name) if row.kind == "stack" else table.get(row.name)
