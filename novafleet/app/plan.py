"""Plan an environment: load, observe, place, and let each capability say what it would change."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from novafleet.app.acceleration import with_acceleration
from novafleet.app.wiring import World, open_journal
from novafleet.errors import GuardError
from novafleet.execute.gather import gather
from novafleet.inventory import select
from novafleet.model import address
from novafleet.model.environment import Environment, Stack, Vm
from novafleet.model.facts import FleetFacts
from novafleet.model.plan import Change, Plan, PlanOptions, ResourceChange, Step, StepClass
from novafleet.model.request import EnvironmentRequest
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.plan.depend import gate_steps
from novafleet.plan.graph import check_acyclic, data_loss, restrict, tree_order
from novafleet.plan.moving import unfinished
from novafleet.plan.whereabouts import whereabouts
from novafleet.playbook import Draft, load_draft

USED = "hosts"
"""In a run's summary: the hosts that its environment had something on."""
REMEMBERED = 20
"""Runs looked through for hosts that the file does not name any more."""
ELSEWHERE = 5.0
"""Seconds that hosts outside the file get to say whether they have a VM of it."""
COLLECTORS = ("system", "storage", "containers", "libvirt")


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with the desired and observed state it came from."""

    environment: Environment
    facts: FleetFacts
    plan: Plan


def load(world: World, request: EnvironmentRequest) -> Draft:
    """The environment file before placement. Raises ConfigError; touches no host."""
    return load_draft(
        Path(request.file),
        fleet=world.fleet,
        overrides=request.variables,
        var_files=tuple(Path(path) for path in request.variable_files),
        env=os.environ,
    )


async def make_plan(world: World, request: EnvironmentRequest, intent: str) -> Planned:
    """Observe and plan ``up`` or ``down``. A host that cannot be observed is named in the plan, and blocks only
    what depends on it. Raises the host's own error when no host at all could be observed."""
    draft = load(world, request)
    facts = await observe(world, draft)
    refuse_unreachable(facts)
    limit = {host.name for host in select(world.fleet, "all", request.limit)}
    return plan_from(draft, facts, request, intent, limit)


async def observe(world: World, draft: Draft) -> FleetFacts:
    """Facts of every host the environment may use or has used, one round trip each: placement must see them all, and
    what the file does not name any more must be found."""
    names = {*draft.hosts(), *await _used_before(world, draft.name)} & world.fleet.hosts.keys()
    facts = await _gather(world, names, COLLECTORS)
    strayed = await _strayed(world, draft, facts)
    if strayed:
        facts = FleetFacts({**facts.hosts, **(await _gather(world, strayed, COLLECTORS)).hosts})
    return await with_acceleration(world, facts)


async def _gather(world: World, names: Collection[str], kinds: Collection[str]) -> FleetFacts:
    hosts = [world.fleet.hosts[name] for name in sorted(names)]
    return await gather(world.sessions, hosts, collectors(kinds), world.clock)


async def _strayed(world: World, draft: Draft, facts: FleetFacts) -> frozenset[str]:
    """Other hosts of the inventory that have VMs of this environment. They are asked only when one is missing where it
    was looked for: it may have been migrated by somebody else."""
    elsewhere = world.fleet.hosts.keys() - facts.hosts.keys()
    there = {domain for host in facts.hosts.values() for domain in host.domains}
    if not elsewhere or draft.domains() <= there:
        return frozenset()
    looks = {asyncio.create_task(_gather(world, {name}, ("libvirt",))) for name in elsewhere}
    done, pending = await asyncio.wait(looks, timeout=ELSEWHERE)
    for look in pending:
        look.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    hosts = [host for look in done for host in look.result().hosts.values()]
    return frozenset(host.host for host in hosts if draft.domains() & host.domains.keys())


async def _used_before(world: World, environment: str) -> set[str]:
    async with open_journal(world.places) as journal:
        runs = await journal.runs(environment, REMEMBERED)
    return {host for run in runs for host in run.summary.get(USED, ())}


def plan_from(
    draft: Draft, facts: FleetFacts, request: EnvironmentRequest, intent: str, limit: Collection[str]
) -> Planned:
    """The pure half of planning."""
    from novafleet.app.planners import PLANNERS  # loaded while hosts answer (cli/environment.py)

    environment = place(draft, facts)
    changes = [change for planner in PLANNERS[intent] for change in planner(environment, facts, request.options)]
    changes = [change for change in changes if _observed(facts, change.host)] + blocked(environment, facts, intent)
    unreachable = {name: host.error for name, host in facts.hosts.items() if host.error and name in limit}
    within = tree_order(change for change in changes if change.host in limit)
    if intent == "up" and request.options.snapshot_before:
        from novafleet.capability.snapshot.beforehand import with_snapshots

        within = with_snapshots(environment, within)
    plan = Plan(environment.name, intent, within, environment.digest, unreachable)
    check_acyclic(plan.steps)
    return Planned(environment, facts, restrict(plan, request.targets))


def _observed(facts: FleetFacts, host: str) -> bool:
    return host in facts.hosts and not facts.hosts[host].error


def blocked(environment: Environment, facts: FleetFacts, intent: str) -> list[ResourceChange]:
    """What stands on hosts that could not be observed, each with a step that fails at once. In ``up`` it is the start,
    so that what depends on it is skipped; ``down`` goes on with the rest."""
    named: list[tuple[str, Vm | Stack]] = [(address.vm(name), vm) for name, vm in environment.vms.items()]
    named += [(address.stack(name), stack) for name, stack in environment.stacks.items()]
    return [
        ResourceChange(
            target,
            target.partition(".")[0],
            each.name,
            each.host,
            Change.NONE,
            steps=_unstarted(environment, target, each) if intent == "up" else (_require(target, "observe", each),),
        )
        for target, each in named
        if each.host in facts.hosts and facts.hosts[each.host].error
    ]


def _unstarted(environment: Environment, target: str, resource: Vm | Stack) -> tuple[Step, ...]:
    return (_require(target, "start", resource), *gate_steps(environment, resource, target))


def _require(target: str, verb: str, resource: Vm | Stack) -> Step:
    name = address.step(target, verb)
    return Step(name, "host.require", target, resource.host, StepClass.CONVERGENT, check=True, label="host")


def place(draft: Draft, facts: FleetFacts) -> Environment:
    """Decide hosts: what already runs somewhere stays there, and what a migration took elsewhere is at home there."""
    found = whereabouts(draft.name, facts)
    available = {name: host.memory_available for name, host in facts.hosts.items() if not host.error}
    closed = frozenset(name for name, host in facts.hosts.items() if "maintenance" in host.values)
    placed = draft.place(found.current, available, found.moved, closed)
    vms = {
        name: replace(vm, between=unfinished(found.between[vm.domain])) if vm.domain in found.between else vm
        for name, vm in placed.vms.items()
    }
    return replace(placed, vms=vms)


def refuse_unconsented(plan: Plan, options: PlanOptions) -> None:
    """Raise GuardError when ``up`` would destroy data that nobody agreed to lose."""
    losses = () if options.allow_data_loss or plan.intent == "down" else data_loss(plan)
    if losses:
        raise GuardError(
            "this would destroy data",
            code="NF-GUARD-001",
            where=plan.environment,
            cause=", ".join(change.address for change in losses),
            hints=("take a backup, then run again with --allow-data-loss",),
        )


def refuse_unreachable(facts: FleetFacts) -> None:
    """Raise the first host's own error when none could be observed."""
    if facts.hosts and all(host.error for host in facts.hosts.values()):
        raise error_of(next(iter(facts.hosts.values())))
