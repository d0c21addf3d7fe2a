"""``migrate stack``: a container stack from host to host; with ``--plan`` only what that would be like."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from novafleet.app.context import Reached, StepContext, reach, silent
from novafleet.app.errand import Errand, carry_out
from novafleet.app.migrate import DAY, Confirm, Done, VmMove, Watch
from novafleet.app.migrategates import stack_gates
from novafleet.app.recoverstack import settle_stacks
from novafleet.app.stacktrip import StackTrip, runners
from novafleet.app.vmselect import ChosenStack, look
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.capability.backup.stack import StackPlace, volumes
from novafleet.capability.migration.measure import link_rate
from novafleet.capability.migration.quarantine import quarantines
from novafleet.capability.migration.stack import StackMove, StackVolume, containers_up
from novafleet.capability.migration.stackcheck import StackDossier, judge, refuse_stack
from novafleet.capability.migration.stacklook import look_there
from novafleet.capability.stack import bundle
from novafleet.capability.stack.runtime import Runner
from novafleet.errors import ConfigError, Location
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.gather import gather
from novafleet.execute.nested import hold_one
from novafleet.model.encode import decode, encode
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.migration import GateSeen, Mode, Outcome
from novafleet.model.migration import Path as Carrier
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.ports import ActionContext
from novafleet.ports import Outcome as Told
from novafleet.store.journal import new_run_id
from novafleet.together import together


@dataclass(frozen=True, slots=True)
class StackRequest:
    """``stack``: its project, HOST/PROJECT or ENV/NAME; ``undo`` seconds the source keeps its volumes."""

    inventory: tuple[Path, ...]
    stack: str
    to: str
    undo: float = DAY
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class _Party:
    """One stack's move, looked at, and what runs it on each side."""

    world: World
    dossier: StackDossier
    here: Runner
    there: Runner
    reached: Mapping[str, Reached]
    facts: HostFacts
    request: StackRequest

    @property
    def move(self) -> StackMove:
        """What is to be moved."""
        return self.dossier.move


def named(text: str) -> str:
    """As ``vmselect`` calls a stack: ``web/edge`` is ``web/stack.edge``."""
    first, slash, last = text.rpartition("/")
    return f"{first}{slash}{last if last.startswith('stack.') else f'stack.{last}'}"


async def stack_dossier(request: StackRequest) -> StackDossier:
    """``--plan``. Changes nothing; raises ConfigError as ``migrate_stack``."""
    async with open_world(request.inventory) as world:
        return (await _party(world, request)).dossier


async def migrate_stack(request: StackRequest, watch: Watch, confirm: Confirm) -> Done:
    """Move it, once what an earlier move of it left is ended or taken back. A failure does not raise: then it runs
    where it was; see ``Done``.

    Raises ConfigError NF-VM-006 and -007, NF-MIG-301, -302, NF-STK-002, MigrationError for what is in the way, and the
    error of a host that cannot be reached.
    """
    async with open_world(request.inventory) as world:
        await settle_stacks(world, named(request.stack), request.lock_wait)
        party = await _party(world, request)
        refuse_stack(party.dossier)
        move, run_id = party.move, new_run_id(world.clock.now())
        names = ", ".join(each.name for each in move.volumes) or "none"
        if not confirm((f"{move.name}: {move.source} -> {move.destination}, volumes: {names}",)):
            return Done(run_id, single=True, declined=True)
        header = {"vms": [f"{move.source}/stack.{move.project}"], "to": move.destination}
        scope, source = f"stack.{move.project}", party.reached[move.source]
        errand = Errand(world, source, party.facts, run_id, "migrate", scope, scope, header, request.lock_wait)
        ended = await carry_out(errand, lambda ctx: _leased(party, ctx, run_id), watch)
        known = (move.name, f"stack.{move.project}", move.source, move.destination)
        if ended.state != "done":
            return Done(run_id, (VmMove(*known, "rolled-back", error=ended.error),), True, ended.state == "cancelled")
        return Done(run_id, (VmMove(*known, "done", outcome_of(move, ended.outcome)),), single=True)


def outcome_of(move: StackMove, told: Mapping[str, Any]) -> Outcome:
    """Of a move that ended well, from what its step told."""
    name, own = f"stack.{move.project}", {**told, "gates": tuple(decode(GateSeen, each) for each in told["gates"])}
    return Outcome(move.job, move.name, name, move.source, move.destination, Mode.WARM, Carrier.RELAY, **own)


async def _party(world: World, request: StackRequest) -> _Party:
    selection = await look(world, (named(request.stack),), stacks=True)
    for error in selection.unseen.values():
        raise error
    [chosen] = [each for each in selection.chosen if isinstance(each, ChosenStack)]
    source = chosen.host.name
    if request.to not in world.fleet.hosts:
        raise ConfigError(f"there is no host {request.to}", code="NF-MIG-301", hints=("novafleet host ls",))
    if request.to == source:
        raise ConfigError(f"{chosen.vm} is on {source} already", code="NF-MIG-302")
    reached, failed = await reach(world, (source, request.to))
    for failure in failed.values():
        raise failure
    hosts = [world.fleet.hosts[name] for name in (source, request.to)]
    facts = (await gather(world.sessions, hosts, collectors(("libvirt", "system", "containers")), world.clock)).hosts
    for each in facts.values():
        if each.error:
            raise error_of(each)
    here, there = runners(chosen.vm, chosen.fact.project, chosen.fact.kind, facts[source], facts[request.to])
    move = await _move(world, chosen, reached, facts, (here, there), request.to)
    seen, rate, (gates, unknown) = await together(
        look_there(reached[source], reached[request.to], move),
        link_rate(reached[source], reached[request.to]),
        stack_gates(world, move, reached[source]),
    )
    closed = facts[request.to].values.get("maintenance")
    dossier = judge(move, replace(seen, link_rate=rate), closed, gates, unknown)
    return _Party(world, dossier, here, there, reached, facts[source], request)


async def _move(
    world: World,
    chosen: ChosenStack,
    reached: Mapping[str, Reached],
    facts: Mapping[str, HostFacts],
    runs: tuple[Runner, Runner],
    to: str,
) -> StackMove:
    fact, root, source = chosen.fact, bundle.directory(chosen.fact.project), reached[chosen.host.name]
    nothing = Environment("", Location(""))
    ctx = StepContext(source, nothing, facts[chosen.host.name], "", "migrate", silent, world.clock.now)
    found = await volumes(ctx, StackPlace(fact.project, runs[0].engine, fact.kind, root))
    kept = [each for each in await quarantines(reached[to]) if each.uuid == chosen.domain.uuid]
    move = StackMove(
        job=secrets.token_hex(4),
        name=chosen.vm,
        project=fact.project,
        uuid=chosen.domain.uuid,
        environment=chosen.environment,
        source=chosen.host.name,
        destination=to,
        engine=runs[0].engine,
        runs_by=runs[1].engine,
        kind=fact.kind,
        root=root,
        volumes=tuple(StackVolume(each.name, each.path, each.labels) for each in found if not each.skip),
        left=tuple(name for each in kept for name in each.volumes),
        stays={each.name: each.skip for each in found if each.skip},
    )
    up, _ = await containers_up(source, move.engine, move.label)
    return replace(move, up=up)


async def _leased(party: _Party, ctx: ActionContext, run_id: str) -> Told:
    """Its lease on the destination too, then the move."""
    world, move, request = party.world, party.move, party.request
    plain = party.reached[move.destination]
    scope = f"stack.{move.project}"
    async with (
        hold_one(plain.session, scope, run_id, world.clock, wait=request.lock_wait) as lease,
        open_journal(world.places) as journal,
    ):
        there = Reached(plain.host, fence(plain.session, lease), fence_hypervisor(plain.hypervisor, lease))
        here = cast("StepContext", ctx).reached
        ends = (here, there, party.here, party.there)
        trip = StackTrip(move, *ends, journal, world.clock, run_id, request.undo, ctx.progress)
        return dict(encode(await trip.go()))
