"""Stacks of an environment against those its hosts have: what to push, load, start, stop. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from novafleet.capability.stack import bundle
from novafleet.capability.stack.runtime import Runner, choose
from novafleet.errors import GuardError
from novafleet.model import address
from novafleet.model.environment import Environment, Stack
from novafleet.model.facts import ContainerFact, FleetFacts, HostFacts, StackFact
from novafleet.model.plan import Change, Impact, PlanOptions, Reason, ResourceChange, Step, StepClass
from novafleet.plan.depend import dependants, gate_steps, prerequisites

KIND = "stack"
TIMEOUT = 600.0
_DOWN = ("exited", "dead", "created", "paused", "removing")


@dataclass(frozen=True, slots=True)
class _Difference:
    """``push``: the bundle is to be written and its containers made anew; else they are only started."""

    change: Change
    impact: Impact = Impact.LIVE
    reasons: tuple[Reason, ...] = ()
    push: bool = False
    replaces: str = ""


def plan_up(environment: Environment, facts: FleetFacts, options: PlanOptions) -> tuple[ResourceChange, ...]:
    """What makes every stack run as the file says, its gates, and the removal of our stacks no longer in it.

    Raises ConfigError NF-STK-002, -005 and GuardError NF-STK-003. Hosts without facts are left out.
    """
    changes = [
        _apply(environment, stack, facts.hosts[stack.host])
        for stack in environment.stacks.values()
        if stack.host in facts.hosts and not facts.hosts[stack.host].error
    ]
    desired = {(stack.host, stack.project) for stack in environment.stacks.values()}
    for host, fact in _ours(environment, facts):
        if (host.host, fact.project) not in desired:
            reason = Reason("no longer in the file", source=environment.source)
            changes.append(_remove(environment, host, fact, options.allow_data_loss, (reason,)))
    return tuple(changes)


def plan_down(environment: Environment, facts: FleetFacts, options: PlanOptions) -> tuple[ResourceChange, ...]:
    """Removal of every stack of ours, after what depends on it has stopped; its volumes with ``options.volumes``."""
    return tuple(_remove(environment, host, fact, options.volumes) for host, fact in _ours(environment, facts))


def _ours(environment: Environment, facts: FleetFacts) -> Iterator[tuple[HostFacts, StackFact]]:
    for host in facts.hosts.values():
        for fact in host.stacks.values():
            if fact.environment == environment.name:
                yield host, fact


def _apply(environment: Environment, stack: Stack, host: HostFacts) -> ResourceChange:
    fact = host.stacks.get(stack.project)
    if fact is not None and fact.environment != environment.name:
        raise _foreign(stack, host, fact)
    runner = choose(stack, host)
    found = _difference(stack, runner, fact)
    name = address.stack(stack.name)
    steps = (*_steps(environment, stack, runner, found), *gate_steps(environment, stack, name))
    return ResourceChange(name, KIND, stack.name, stack.host, found.change, found.impact, found.reasons, steps=steps)


def _foreign(stack: Stack, host: HostFacts, fact: StackFact) -> GuardError:
    return GuardError(
        f"{host.host} has a stack {stack.project!r} of another environment",
        code="NF-STK-003",
        where=stack.source,
        cause=f"its environment is {fact.environment or 'unknown'}",
        hints=(f"rename stack {stack.name} or the environment, or take the other one down",),
    )


def _difference(stack: Stack, runner: Runner, fact: StackFact | None) -> _Difference:
    if fact is None:
        return _Difference(Change.CREATE, reasons=(Reason("it does not exist", source=stack.source),), push=True)
    for name, before, after in (("runtime", fact.runtime, runner.engine), ("kind", fact.kind, stack.kind)):
        if before != after:
            reason = Reason(f"{name}: {before} -> {after}", name, before, after, stack.source)
            return _Difference(Change.REPLACE, Impact.RECREATE, (reason,), push=True, replaces=fact.runtime)
    desired = bundle.digest(stack, runner.engine)
    if fact.digest != desired:
        text = "its files or images differ" if fact.digest else "an earlier start did not finish"
        reason = Reason(text, "bundle", fact.digest[:12], desired[:12], stack.source)
        return _Difference(Change.UPDATE, Impact.RECREATE, (reason,), push=True)
    reasons = tuple(_drift(stack, fact.containers))
    return _Difference(Change.UPDATE if reasons else Change.NONE, reasons=reasons)


def _drift(stack: Stack, containers: tuple[ContainerFact, ...]) -> Iterator[Reason]:
    expected = bundle.expected(stack)
    missing = sorted(expected.services.keys() - {container.service for container in containers})
    for service in missing:
        yield Reason(f"{service} has no container", "containers", "", service, stack.source)
    if not missing and len(containers) < expected.count:
        text = f"{len(containers)} of {expected.count} containers are there"
        yield Reason(text, "containers", str(len(containers)), str(expected.count), stack.source)
    for container in containers:
        if container.state in _DOWN and not expected.done(container):
            yield Reason(f"{container.name} is {container.state}", "state", container.state, "running", stack.source)


def _steps(environment: Environment, stack: Stack, runner: Runner, found: _Difference) -> Iterator[Step]:
    if found.change is Change.NONE:
        return
    name = address.stack(stack.name)
    args: dict[str, Any] = {"stack": stack.name, "engine": runner.engine, "provider": runner.provider}
    needed = prerequisites(environment, stack.depends_on)
    verbs = ("stop", "push", "images")
    if found.replaces:
        old = {"project": stack.project, "engine": found.replaces, "kind": stack.kind, "volumes": False}
        yield _step(stack, "stop", "stack.stop", old, needed)
    if found.push:
        yield _step(stack, "push", "stack.push", args, (address.step(name, "stop"),))
        if stack.images:
            archives = (address.archive(stack.name, reference, stack.host) for reference in stack.images)
            fetched = tuple(address.step(archive, "fetch") for archive in archives)
            yield _step(stack, "images", "stack.load", args, (address.step(name, "push"), *fetched))
    after = (*(address.step(name, verb) for verb in verbs), *needed)
    yield _step(stack, "start", "stack.start", {**args, "recreate": found.push}, after)


def _step(stack: Stack, verb: str, action: str, args: dict[str, Any], after: tuple[str, ...]) -> Step:
    name = address.stack(stack.name)
    return Step(
        id=address.step(name, verb),
        action=action,
        resource=name,
        host=stack.host,
        step_class=StepClass.CONVERGENT,
        args=args,
        after=after,
        timeout=TIMEOUT,
        label=verb,
    )


def _remove(
    environment: Environment, host: HostFacts, fact: StackFact, volumes: bool, reasons: tuple[Reason, ...] = ()
) -> ResourceChange:
    short = _short(environment, fact)
    name = address.stack(short)
    if short in environment.stacks and environment.stacks[short].host != host.host:
        name = f"{name}@{host.host}"  # it was moved: the stack of this name starts elsewhere in the same plan
    args = {"project": fact.project, "engine": fact.runtime, "kind": fact.kind, "volumes": volumes}
    stopped = tuple(address.step(each, "stop") for each in dependants(environment, address.stack(short)))
    steps = tuple(
        Step(address.step(name, verb), f"stack.{verb}", name, host.host, StepClass.CONVERGENT, args, after, TIMEOUT)
        for verb, after in (("stop", stopped), ("delete", (address.step(name, "stop"),)))
    )
    impact = Impact.DATA_LOSS if volumes else Impact.LIVE
    return ResourceChange(name, KIND, short, host.host, Change.DELETE, impact, reasons, steps=steps)


def _short(environment: Environment, fact: StackFact) -> str:
    names = {stack.project: stack.name for stack in environment.stacks.values()}
    return names.get(fact.project, fact.project.removeprefix(f"{environment.name}-"))
