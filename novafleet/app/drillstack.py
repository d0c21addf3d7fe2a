"""``backup drill ENV/stack.NAME``: a stack's newest snapshot brought up as a copy that is cut off from everything,
judged by its gates, and removed again."""

from __future__ import annotations

import asyncio
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import IO, Any, cast

from novafleet.app.context import StepContext
from novafleet.app.drillplan import Drill, DrillRequest, asked, party_for
from novafleet.app.gates import wait_all
from novafleet.app.restorestack import OBSERVED, bring_up, own_record, parsed, runner_of, stack_of
from novafleet.app.wiring import World
from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.stack import BUNDLE, StackPlace
from novafleet.capability.backup.stack_apart import apart
from novafleet.capability.backup.stack_restore import renamed, restore_stack
from novafleet.capability.stack import actions, bundle
from novafleet.capability.stack.runtime import Runner
from novafleet.errors import BackupError, ConfigError, NotFoundError, Retry
from novafleet.execute.gather import gather
from novafleet.model.backup import Extent, Snapshot
from novafleet.model.command import Command
from novafleet.model.environment import Gate, GateKind
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.nbd.ahead import read_many
from novafleet.observe.containers import PROJECT_LABEL, SERVICE_LABEL
from novafleet.observe.registry import collectors
from novafleet.playbook import load_environment
from novafleet.ports import ActionContext, Outcome
from novafleet.repository import Repository

STARTED = 300.0
"""Seconds in which its containers must run, and be healthy where they can say."""
HELD = 16 << 20
"""Bytes of a bundle in memory; more go to a temporary file."""
PUBLISHED = (GateKind.TCP, GateKind.HTTP, GateKind.SSH)
ADDRESS = """\\
ids=$("$1" ps -q --filter "label=$2" --filter "label=$3") && [ -n "$ids" ] || exit 0
form='{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}'
for address in $("$1" container inspect --format "$form" $ids); do
  ip -o route get "$address" | grep -q ' via ' || { echo "$address"; exit 0; }
done
"""
"""One that the host has a bridge to: engines differ in whether a network that leads nowhere leads to the host."""


async def stack_drill(
    world: World, repository: Repository, request: DrillRequest, snapshot: Snapshot, began: float
) -> Drill:
    """Where, and what is done there. Raises ConfigError NF-BAK-062, BackupError NF-BAK-050, -051, -063."""
    _refuse_kind(snapshot)
    project = f"drill-{snapshot.domain.removeprefix('stack.')}"[:60]
    called = partial(renamed, was=snapshot.domain.removeprefix("stack."), project=project, apart=True)
    entry, compose = await asyncio.to_thread(_entry, await _bundle(repository, snapshot), snapshot)
    compose = apart(compose, snapshot, called)
    fleet = await gather(world.sessions, asked(world, request), collectors(OBSERVED), world.clock)
    host, runner = _host(snapshot, project, fleet, request)
    party = await party_for(world, repository, request, snapshot, host)
    place = StackPlace(project, runner.engine, "compose", bundle.directory(project))
    gates = _gates(world, snapshot, request)

    async def work(ctx: ActionContext) -> Outcome:
        await _refuse_other(ctx, place, snapshot)
        await _remove(ctx, place)
        try:
            await restore_stack(ctx, repository, snapshot, place, world.clock.now(), apart=True)
            await ctx.session.push(compose, f"{place.root}/{entry}", mode=0o600, become=True)
            await own_record(ctx, place, runner, drill=snapshot.id)
            await bring_up(ctx, place, runner)
            seen = await _judged(cast("StepContext", ctx), snapshot, place, gates)
            return {"gates": seen, "rto": world.clock.now() - began}
        finally:
            await if_possible(ctx, _remove(ctx, place))

    return Drill(party, f"stack.{project}", work, f"stack.{project}")


def _refuse_kind(snapshot: Snapshot) -> None:
    if snapshot.facts["kind"] != "compose":
        raise ConfigError(
            f"a {snapshot.facts['kind']} stack cannot be drilled",
            code="NF-BAK-062",
            where=snapshot.id,
            cause="its files say what its containers and volumes are called: there cannot be a copy beside it",
            hints=(f"novafleet restore {snapshot.id} --stack NAME --host HOST   # on a host of its own",),
        )


async def _bundle(repository: Repository, snapshot: Snapshot) -> IO[bytes]:
    """The archive of the bundle, out of the repository."""
    source = await repository.disk(snapshot.disks[BUNDLE])
    held = tempfile.SpooledTemporaryFile(HELD)  # noqa: SIM115  (closed by who reads it)
    async for _, data in read_many(source, [Extent(0, source.size)]):
        held.write(data)
    held.seek(0)
    return cast("IO[bytes]", held)


def _entry(archive: IO[bytes], snapshot: Snapshot) -> tuple[str, bytes]:
    """The Compose file of a bundle: its name, and its text."""
    with archive, tarfile.open(fileobj=archive) as found:
        record = parsed(_member(found, bundle.RECORD, snapshot), snapshot.id)
        return str(record["entry"]), _member(found, str(record["entry"]), snapshot)


def _member(archive: tarfile.TarFile, name: str, snapshot: Snapshot) -> bytes:
    try:
        file = archive.extractfile(f"./{name}")
    except KeyError:
        file = None
    if file is None:
        raise BackupError(f"the bundle has no {name}", code="NF-BAK-063", where=snapshot.id)
    return file.read()


def _host(snapshot: Snapshot, project: str, fleet: FleetFacts, request: DrillRequest) -> tuple[HostFacts, Runner]:
    """Of the hosts that can run it the one with the most free memory, before all others those with the same engine."""
    able: list[tuple[bool, int, HostFacts, Runner]] = []
    why = []
    for facts in fleet.hosts.values():
        if facts.error:
            why.append(f"{facts.host}: {facts.error}")
        elif request.host in ("", facts.host):
            try:
                runner = runner_of(snapshot, project, facts)
            except ConfigError as error:
                why.append(f"{facts.host}: {error.cause}")
            else:
                able.append((runner.engine == snapshot.facts["engine"], facts.memory_available, facts, runner))
    if not able:
        raise BackupError(
            f"no host can run a drill of {snapshot.vm}",
            code="NF-BAK-050",
            where=request.host,
            cause="; ".join(why),
            hints=("--host HOST names one",),
            retry=Retry.LATER,
        )
    return max(able, key=lambda each: each[:2])[2:]


def _gates(world: World, snapshot: Snapshot, request: DrillRequest) -> tuple[Gate, ...]:
    """Those asked for, or those of the stack in the file; and always that its containers are well."""
    gates = request.gates
    if not gates and request.file is not None:
        made = load_environment(request.file, fleet=world.fleet, overrides={}, var_files=(), env=os.environ)
        name = snapshot.vm.removeprefix("stack.")
        gates = made.stacks[name].ready if name in made.stacks else ()
    if any(gate.kind is GateKind.COMPOSE for gate in gates):
        return gates
    return (Gate(GateKind.COMPOSE, timeout=STARTED), *gates)


async def _judged(ctx: StepContext, snapshot: Snapshot, place: StackPlace, gates: Sequence[Gate]) -> dict[str, str]:
    """What each gate saw, or why it was not asked. Raises GateError for the first that is not met."""
    stack = stack_of(place.project, ctx.host.name, place.project, place.kind)
    inside = tuple(gate for gate in gates if gate.kind is GateKind.COMPOSE)
    seen = {each.gate: each.evidence for each in await wait_all(ctx, replace(stack, ready=inside))}
    published = snapshot.facts.get("ports") or {}
    for gate in (each for each in gates if each not in inside):
        found = await _of_copy(ctx, place, gate, published)
        if isinstance(found, Gate):
            [met] = await wait_all(ctx, replace(stack, ready=(found,)))
            seen[gate.label] = met.evidence
        else:
            seen[gate.label] = f"not asked: {found}"
    return seen


async def _of_copy(ctx: StepContext, place: StackPlace, gate: Gate, published: Mapping[str, Any]) -> Gate | str:
    """The same gate, for the copy: where the original publishes a port, its container is asked; or why none is."""
    if gate.kind not in PUBLISHED or gate.address:
        return "it would not look at the copy"
    service, _, port = str(published.get(str(gate.target.get("port")), "")).partition(":")
    if not port:
        return "the stack published no such port when it was backed up"
    words = (place.engine, f"{PROJECT_LABEL}={place.project}", f"{SERVICE_LABEL}={service}")
    address = (await ctx.session.run(Command.script(ADDRESS, *words, become=True))).text.strip()
    if not address:
        return f"{place.engine} keeps a network that leads nowhere from its host as well"
    return replace(gate, target={**gate.target, "port": int(port)}, address=address)


async def _refuse_other(ctx: ActionContext, place: StackPlace, snapshot: Snapshot) -> None:
    """Raise BackupError NF-BAK-030 for a stack of that name that no drill made."""
    where = f"{ctx.host.name}:{place.root}"
    try:
        record = parsed(await ctx.session.pull(f"{place.root}/{bundle.RECORD}", become=True), where)
    except NotFoundError:
        return
    if "drill" not in record and record.get("environment") != snapshot.environment:
        raise BackupError(
            f"there is a stack {place.project} that no drill made",
            code="NF-BAK-030",
            where=where,
            hints=("drill on another host: --host HOST", f"or take {place.project} down"),
        )


async def _remove(ctx: ActionContext, place: StackPlace) -> None:
    """Everything a drill made, also one that was killed. Raises StackError NF-STK-007."""
    args = {"project": place.project, "engine": place.engine, "kind": place.kind, "volumes": True}
    await actions.stop(ctx, args)
    await actions.delete(ctx, args)
