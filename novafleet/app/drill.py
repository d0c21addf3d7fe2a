"""``backup drill VM``: the newest snapshot of a VM, restored on a host with room, cut off, judged by its gates, and
removed again; ``drillstack`` does it for container stacks. The outcome is kept in the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from novafleet.app.context import StepContext, reach
from novafleet.app.drillplan import Drill, DrillRequest, asked, party_for
from novafleet.app.drillstack import stack_drill
from novafleet.app.errand import Watch
from novafleet.app.gates import wait_all
from novafleet.app.repository import open_repository
from novafleet.app.restore import OBSERVED, Party, VmRestored, carried_out
from novafleet.app.restorepoint import choose
from novafleet.app.wiring import World, open_world
from novafleet.capability.backup.drill import drill_name, instead, rehearse, wanted_networks
from novafleet.capability.backup.pour import content
from novafleet.capability.backup.restore import Restored
from novafleet.capability.backup.restore_check import MISSING
from novafleet.capability.backup.restore_names import Order
from novafleet.capability.backup.restore_xml import memory_of, needs, new_uuid
from novafleet.capability.backup.xml import around
from novafleet.errors import BackupError, Retry
from novafleet.execute.gather import gather
from novafleet.model.backup import Snapshot, SnapshotKind
from novafleet.model.command import Command
from novafleet.model.environment import Gate, GateKind, Vm
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.fleet import Fleet
from novafleet.observe.registry import collectors
from novafleet.plan.storage import pool_path
from novafleet.playbook import load_environment
from novafleet.ports import ActionContext, Outcome
from novafleet.repository import Repository
from novafleet.repository.records import Proof, record_proof

SPARE_MEMORY = 256 << 20
"""Bytes a host keeps beside the VM."""
WORDS = r"\S"
BOOT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Drilled:
    """One drill. ``rto``: seconds from the decision to the last gate; ``rpo``: seconds by which the snapshot was older
    than that decision; ``gates``: what each gate saw."""

    vm: str
    snapshot: str
    host: str
    ok: bool
    rto: float = 0.0
    rpo: float = 0.0
    gates: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    error: Mapping[str, Any] | None = None


async def run_drill(request: DrillRequest, watch: Watch) -> Drilled:
    """Prove that the newest snapshot of a VM boots, or that of a stack comes up. A drill that fails does not raise; its
    proof says so.

    Raises ConfigError NF-BAK-038, -062, BackupError NF-BAK-050 when no host has room, -051 for a stack that cannot be
    cut off, and what opening the repository raises.
    """
    async with open_world(request.inventory) as world, open_repository(request.repository, request.key) as repository:
        began = world.clock.now()
        snapshot = await choose(repository, request.vm, until=began)
        prepare = stack_drill if snapshot.kind is SnapshotKind.STACK else _vm_drill
        drill = await prepare(world, repository, request, snapshot, began)
        done = await carried_out(drill.party, drill.name, drill.work, watch, scope=drill.scope)
        drilled = _drilled(snapshot, done, rpo=began - snapshot.at)
        await record_proof(repository, world.clock, _proof(drilled, began))
        return drilled


async def _vm_drill(
    world: World, repository: Repository, request: DrillRequest, snapshot: Snapshot, began: float
) -> Drill:
    fleet = await gather(world.sessions, asked(world, request), collectors(OBSERVED), world.clock)
    host = await _host(world, repository, snapshot, fleet, request)
    party = await party_for(world, repository, request, snapshot, host)
    gates = await _gates(world.fleet, repository, snapshot, request)
    return Drill(party, drill_name(snapshot), await _work(party, request.pool, gates, began))


async def _host(
    world: World, repository: Repository, snapshot: Snapshot, fleet: FleetFacts, request: DrillRequest
) -> HostFacts:
    """Of the hosts that have room for it the one with the most free memory, and before all others those that have the
    files its definition names: a kernel, firmware."""
    data = sum([await content(await repository.disk(copy)) for copy in snapshot.disks.values()])
    definition = (await repository.blob(snapshot.files["domain.xml"])).decode("utf-8", "replace")
    memory = memory_of(definition)
    able = [
        facts
        for facts in fleet.hosts.values()
        if not facts.error
        and request.host in ("", facts.host)
        and request.pool in facts.pools
        and facts.pools[request.pool].available > data
        and facts.memory_available > memory + SPARE_MEMORY
    ]
    if not able:
        errors = [f"{facts.host}: {facts.error}" for facts in fleet.hosts.values() if facts.error]
        raise BackupError(
            f"no host has room for a drill of {snapshot.vm}",
            code="NF-BAK-050",
            where=request.host,
            cause="; ".join([f"{memory >> 20} MiB of memory and {data >> 20} MiB in pool {request.pool}", *errors]),
            hints=("--host HOST names one", "--pool NAME another pool"),
            retry=Retry.LATER,
        )
    files = sorted(each for each in needs(definition).files if each.startswith("/"))
    lacks = await _lacking(world, [facts.host for facts in able], files)
    return min(able, key=lambda facts: (lacks[facts.host], -facts.memory_available))


async def _lacking(world: World, names: Sequence[str], paths: Sequence[str]) -> Mapping[str, int]:
    """How many of these files each host does not have."""
    if not paths or len(names) == 1:
        return dict.fromkeys(names, 0)
    reached, _ = await reach(world, names)
    found = dict.fromkeys(names, len(paths))
    for name, each in reached.items():
        said = await each.session.run(Command.script(MISSING, *paths, become=True), timeout=60.0)
        found[name] = len(said.text.splitlines())
    return found


async def _gates(fleet: Fleet, repository: Repository, snapshot: Snapshot, request: DrillRequest) -> tuple[Gate, ...]:
    if request.gates:
        return request.gates
    if request.file is not None:
        environment = load_environment(request.file, fleet=fleet, overrides={}, var_files=(), env=os.environ)
        if snapshot.vm in environment.vms and environment.vms[snapshot.vm].ready:
            return environment.vms[snapshot.vm].ready
    running = snapshot.files.get("running.xml")
    if running and around((await repository.blob(running)).decode("utf-8", "replace")).agent:
        return (Gate(GateKind.AGENT, timeout=BOOT_SECONDS),)
    return (Gate(GateKind.SERIAL, {"pattern": WORDS}, timeout=BOOT_SECONDS),)


async def _work(party: Party, pool: str, gates: Sequence[Gate], began: float) -> Any:
    snapshot, facts, clock = party.snapshot, party.facts, party.world.clock
    name = drill_name(snapshot)
    networks = instead(snapshot, await wanted_networks(party.repository, snapshot))
    order = Order(name, pool_path(facts, pool), facts.pools[pool].available, networks=networks, start=True, apart=True)

    async def work(ctx: ActionContext) -> Outcome:
        async def judge(_restored: Restored) -> Outcome:
            seen = await _judged(cast("StepContext", ctx), name, gates)
            return {"gates": seen, "rto": clock.now() - began}

        return await rehearse(ctx, party.repository, snapshot, order, judge)

    return work


async def _judged(ctx: StepContext, name: str, gates: Sequence[Gate]) -> dict[str, str]:
    """What each gate saw. Raises GateError for the first that is not met."""
    vm = Vm(name, name, name, new_uuid(ctx.host.name, name), ctx.host.name, 0, ready=tuple(gates))
    return {seen.gate: seen.evidence for seen in await wait_all(ctx, vm)}


def _drilled(snapshot: Snapshot, done: VmRestored, rpo: float) -> Drilled:
    return Drilled(
        vm=snapshot.vm,
        snapshot=snapshot.id,
        host=done.host,
        ok=done.state == "done",
        rto=round(float(done.vm.get("rto", 0.0)), 3),
        rpo=round(rpo, 3),
        gates=done.vm.get("gates", {}),
        run=done.run,
        error=done.error,
    )


def _proof(drilled: Drilled, at: float) -> Proof:
    facts = {"host": drilled.host, "rpo": drilled.rpo, "gates": dict(drilled.gates), "run": drilled.run}
    if drilled.error:
        facts["error"] = f"{drilled.error['code']}: {drilled.error['what']}"
    return Proof(drilled.snapshot, "drill", at, drilled.ok, drilled.rto, facts)
