"""The gates of a VM that moves: looked at where it is, and waited for where it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from novafleet.app.context import Reached, StepContext, silent
from novafleet.app.gates import wait_all
from novafleet.app.wiring import World, open_journal
from novafleet.capability.migration.gates import NEVER, WORD, asked, modes_of
from novafleet.capability.migration.observed import Observed
from novafleet.capability.migration.stack import StackMove
from novafleet.errors import GateError, Location, MigrationError, NovaFleetError, Retry
from novafleet.execute.probe import address_of, probe_once
from novafleet.model.environment import Environment, Gate, GateKind, Stack, Vm
from novafleet.model.facts import HostFacts
from novafleet.model.migration import GateAhead, GateSeen, Mode, Move
from novafleet.together import together

if TYPE_CHECKING:
    from novafleet.playbook import Draft

UNVERIFIED, GIVEN_UP = "NF-MIG-510", "NF-MIG-511"


async def with_gates(world: World, observed: Observed, source: Reached) -> Observed:
    """With what the VM's environment asks of it, and whether that is so now. Only one that runs can be asked."""
    if not observed.environment or observed.domain.state != "running":
        return observed
    draft, unknown = await _file_of(world, observed.environment)
    spec = draft.sheet.vms.get(observed.vm) if draft is not None else None
    if spec is None:
        why = unknown or f"the file of environment {observed.environment} has no {observed.vm}"
        return replace(observed, gates_unknown=why)
    return await _looked_at(world, observed, source, spec.vm)


async def _file_of(world: World, environment: str) -> tuple[Draft | None, str]:
    """What an environment was last brought up from; else why nobody knows."""
    from novafleet.app.lastup import last_up  # reading playbooks takes long to load

    try:
        async with open_journal(world.places) as journal:
            draft = await last_up(world, journal, environment)
    except NovaFleetError as error:
        return None, f"the file of environment {environment}: {error}"
    return draft, "" if draft is not None else f"environment {environment} was never brought up from here"


async def stack_gates(world: World, move: StackMove, source: Reached) -> tuple[tuple[GateAhead, ...], str]:
    """The gates of a stack that is up, each asked once where it is; or why nobody knows them."""
    if not move.environment or not move.up:
        return (), ""
    draft, unknown = await _file_of(world, move.environment)
    spec = draft.sheet.stacks.get(move.name.removeprefix("stack.")) if draft is not None else None
    if spec is None:
        return (), unknown or f"the file of environment {move.environment} has no {move.name}"
    gates = [gate for gate in spec.ready if gate.kind is not GateKind.STOPPED]
    return await _once(_context(world, source), gates, as_stack(move, move.source)), ""


def as_stack(move: StackMove, host: str) -> Stack:
    """The stack as gates are asked of it."""
    name = move.name.removeprefix("stack.")
    nowhere = Location("")
    return Stack(name, host, move.project, move.kind, "", (), "", move.engine, ready=move.gates, source=nowhere)


async def _looked_at(world: World, observed: Observed, source: Reached, vm: Vm) -> Observed:
    gates = [gate for gate in vm.ready if gate.kind not in NEVER]
    if not gates:
        return observed
    told, found = "file", next((nic.ip.partition("/")[0] for nic in vm.nics.values() if nic.ip), "")
    if not found:
        told, found = await address_of(source.session, observed.domain.name)
    if told in ("file", "arp"):  # it stays the same after a boot elsewhere, where nobody would tell it
        gates = [gate if gate.address else replace(gate, address=found) for gate in gates]
    own = replace(vm, domain=observed.domain.name, uuid=observed.domain.uuid, host=source.host.name)
    return replace(observed, gates=await _once(_context(world, source), gates, own), address=found)


def _context(world: World, source: Reached) -> StepContext:
    nothing, facts = Environment("", Location("")), HostFacts(source.host.name, 0.0)
    return StepContext(source, nothing, facts, "", "gates", silent, world.clock.now)


async def _once(ctx: StepContext, gates: Sequence[Gate], of: Vm | Stack) -> tuple[GateAhead, ...]:
    seen = await together(*(probe_once(ctx, gate, of) for gate in gates))
    return tuple(
        GateAhead(gate, each.ok, each.text, modes_of(gate) if each.ok else ())
        for gate, each in zip(gates, seen, strict=True)
    )


async def prove(
    ctx: StepContext, destination: Reached, move: Move, mode: Mode, *, gives_up: bool = False
) -> tuple[GateSeen, ...]:
    """Wait for the gates of a VM that has arrived. Raises MigrationError NF-MIG-510, or with ``gives_up`` -511, when
    one is not met in its time, and the error of a host that cannot be asked."""
    there = replace(ctx, reached=destination, facts=HostFacts(move.destination, 0.0))
    try:
        return await wait_all(there, asked(move, mode))
    except GateError as error:
        raise (_given_up if gives_up else _unverified)(move, error) from error


def _unverified(move: Move, error: GateError) -> MigrationError:
    return MigrationError(
        f"{move.domain} runs on {move.destination} and is not ready there: {error.what}",
        code=UNVERIFIED,
        where=move.destination,
        cause=f"{error.cause or 'no evidence'}; {move.source} keeps its definition and its disks as they were",
        hints=(
            *error.hints,
            f"novafleet migrate recover {move.domain}   # when that is mended: asks again, and ends the migration",
            f"novafleet migrate undo {move.domain}   # back to {move.source}, with the data it has now",
            f"novafleet migrate recover {move.domain} --consent {WORD}   # ends it without asking",
        ),
        retry=Retry.AFTER_FIX,
    )


def _given_up(move: Move, error: GateError) -> MigrationError:
    return MigrationError(
        f"{move.domain} was not ready on {move.destination}, and goes back to {move.source}: {error.what}",
        code=GIVEN_UP,
        where=move.destination,
        cause=f"{error.cause or 'no evidence'}; it starts from its disks as they were when it was shut down on "
        f"{move.source}: what it wrote on {move.destination} since is lost",
        hints=(
            *error.hints,
            f"novafleet migrate {move.domain} --to {move.destination} --consent {WORD}   # do not ask",
        ),
        retry=Retry.AFTER_FIX,
    )
