"""From ``depends_on`` and ``ready`` to step ids: what comes after what, and the gate steps that prove it."""

from __future__ import annotations

from collections.abc import Iterator

from novafleet.model import address
from novafleet.model.environment import Condition, Dependency, Environment, Gate, GateKind, Stack, Vm
from novafleet.model.plan import Step, StepClass

GATE_MARGIN = 30.0
"""Seconds a gate step may take beyond its gate's own timeout, for the connection."""

COMPLETION = Gate(kind=GateKind.STOPPED, timeout=3600.0)
"""``service_completed_successfully``: a VM powered itself off, or all containers of a stack exited with 0."""


def prerequisites(environment: Environment, dependencies: tuple[Dependency, ...]) -> tuple[str, ...]:
    """Ids of the steps that must have succeeded before a resource with these dependencies starts."""
    return tuple(step for dependency in dependencies for step in _met_by(environment, dependency))


def _met_by(environment: Environment, dependency: Dependency) -> tuple[str, ...]:
    target = dependency.target
    started = address.step(target, "start")
    if dependency.condition is Condition.COMPLETED:
        return (address.step(target, "completed"),)
    gates = _resource(environment, target).ready
    if dependency.condition is Condition.STARTED or not gates:
        return (started,)
    return tuple(address.ready(target, index) for index in range(len(gates)))


def _resource(environment: Environment, target: str) -> Vm | Stack:
    kind, _, name = target.partition(".")
    return environment.vms[name] if kind == "vm" else environment.stacks[name]


def gate_steps(environment: Environment, resource: Vm | Stack, target: str) -> tuple[Step, ...]:
    """One ``gate.wait`` step per readiness gate of a resource, and one for completion if anything waits for that.

    They change nothing; every ``up`` runs them, so that its success means evidence and not memory.
    """
    started = address.step(target, "start")
    steps = [
        _gate_step(address.ready(target, index), target, resource.host, gate, started, {"index": index})
        for index, gate in enumerate(resource.ready)
    ]
    if _awaited_to_complete(environment, target):
        step = address.step(target, "completed")
        steps.append(_gate_step(step, target, resource.host, COMPLETION, started, {"completed": True}))
    return tuple(steps)


def _awaited_to_complete(environment: Environment, target: str) -> bool:
    return any(
        dependency.target == target and dependency.condition is Condition.COMPLETED
        for dependency in _dependencies(environment)
    )


def _dependencies(environment: Environment) -> Iterator[Dependency]:
    resources: tuple[Vm | Stack, ...] = (*environment.vms.values(), *environment.stacks.values())
    for resource in resources:
        yield from resource.depends_on


def dependants(environment: Environment, target: str) -> tuple[str, ...]:
    """Addresses of the VMs and stacks that depend on ``target`` directly: they stop before it does."""
    vms = (address.vm(vm.name) for vm in environment.vms.values() if _depends(vm, target))
    stacks = (address.stack(stack.name) for stack in environment.stacks.values() if _depends(stack, target))
    return (*vms, *stacks)


def _depends(resource: Vm | Stack, target: str) -> bool:
    return any(dependency.target == target for dependency in resource.depends_on)


def _gate_step(step: str, target: str, host: str, gate: Gate, after: str, args: dict[str, object]) -> Step:
    return Step(
        id=step,
        action="gate.wait",
        resource=target,
        host=host,
        step_class=StepClass.CONVERGENT,
        args={"resource": target, **args},
        after=(after,),
        timeout=gate.timeout + gate.start_period + GATE_MARGIN,
        check=True,
        label=gate.label,
    )
