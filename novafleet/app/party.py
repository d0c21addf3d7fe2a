"""What verbs about VMs need: the VMs meant, their hosts, their leases, and the engine over their steps."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from novafleet.app.context import Emit, Reached, StepContext, reach
from novafleet.app.vmselect import Chosen, ChosenStack, look
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.errors import ExitCode, Location, NovaFleetError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.lease import hold_leases
from novafleet.execute.nested import include
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Event, NodeResult, NodeState, Run, RunState
from novafleet.ports import ActionContext, Registry
from novafleet.store.journal import Journal, new_run_id

Watch = Callable[[int], AbstractContextManager[Emit]]
Confirm = Callable[[Sequence[str]], bool]
UNREACHABLE = "unreachable"
NOTICES = {
    Stage.STOP: "stopping: what runs may end; Ctrl-C again cuts it off",
    Stage.ABORT: "cutting off what runs",
}


@dataclass(frozen=True, slots=True)
class Selected:
    """The VMs a verb is about: ``patterns`` as ``vmselect`` understands them, or all of ``environment``."""

    inventory: tuple[Path, ...]
    patterns: tuple[str, ...] = ()
    environment: str = ""
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class VmResult:
    """What became of one VM. ``state``: done | failed | unreachable | cancelled; ``outcome`` what its steps said."""

    vm: str
    domain: str
    host: str
    environment: str
    state: str
    outcome: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A run: ``skew_ms`` is how far the snapshots of a group lie apart; ``declined`` when nobody agreed to it;
    ``left_out`` are VMs of a group that it had nothing to do with."""

    verb: str
    run: str
    vms: tuple[VmResult, ...]
    seconds: float = 0.0
    cancelled: bool = False
    declined: bool = False
    group: str = ""
    skew_ms: float | None = None
    left_out: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 all, 3 some, 1 none, 4 none because no host was reached, 6 none because others work on them, 130
        interrupted."""
        states = {vm.state for vm in self.vms}
        if self.cancelled:
            return ExitCode.INTERRUPTED
        if self.declined:
            return ExitCode.FAILED
        if states <= {"done"}:
            return ExitCode.OK
        if states == {UNREACHABLE}:
            return ExitCode.UNREACHABLE
        if "done" in states:
            return ExitCode.PARTIAL
        held = all(vm.error and str(vm.error["code"]).startswith("NF-LOCK-") for vm in self.vms)
        return ExitCode.LOCK_HELD if held else ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class Party:
    """The VMs of a verb (of an environment its ``stacks`` too) and the hosts they are on; ``unseen`` are hosts that may
    have more of them."""

    world: World
    chosen: tuple[Chosen, ...]
    reached: Mapping[str, Reached]
    failed: Mapping[str, NovaFleetError]
    unseen: Mapping[str, NovaFleetError]
    run_id: str
    lock_wait: float = 0.0
    stacks: tuple[ChosenStack, ...] = ()
    left_out: tuple[str, ...] = ()
    """VMs of a group that the verb has nothing to do with, by label."""

    @property
    def everything(self) -> tuple[Chosen, ...]:
        """VMs and stacks."""
        return (*self.chosen, *self.stacks)

    def of(self, label: str) -> Chosen:
        """A VM or stack by its label."""
        return next(each for each in self.everything if each.label == label)


@asynccontextmanager
async def party(asked: Selected) -> AsyncIterator[Party]:
    """Select and connect. Raises ConfigError NF-VM-006 and -007, and for an environment the error of any host that
    could not be asked: half of one is not it."""
    async with open_world(asked.inventory) as world:
        unseen: Mapping[str, NovaFleetError] = {}
        selection = await look(world, asked.patterns, asked.environment, stacks=bool(asked.environment))
        if asked.environment:
            for error in selection.unseen.values():
                raise error
        else:
            unseen = selection.unseen
        stacks = tuple(each for each in selection.chosen if isinstance(each, ChosenStack))
        chosen = tuple(each for each in selection.chosen if not isinstance(each, ChosenStack))
        reached, failed = await reach(world, {each.host.name for each in selection.chosen})
        run_id = new_run_id(world.clock.now())
        yield Party(world, chosen, reached, failed, unseen, run_id, asked.lock_wait, stacks)


@dataclass(frozen=True, slots=True)
class Leased:
    """The VMs' fenced ways in, by label, and why others have none."""

    reached: Mapping[str, Reached]
    failed: Mapping[str, NovaFleetError]


@asynccontextmanager
async def leased(party: Party) -> AsyncIterator[Leased]:
    """Hold each VM's lease: its environment's, which ``up`` holds too; of those of none on a host the first one's own,
    of which the others become part: each lease that is held takes one of sshd's few sessions."""
    reached: dict[str, Reached] = {}
    failed = {each.label: party.failed[each.host.name] for each in party.everything if each.host.name in party.failed}
    world = party.world
    async with AsyncExitStack() as stack:
        for scope, members in _scopes(party.everything):
            hosts = {each.host.name for each in members} & party.reached.keys()
            sessions = [party.reached[name].session for name in sorted(hosts)]
            holding = hold_leases(sessions, scope, party.run_id, world.clock, wait=party.lock_wait)
            held = await stack.enter_async_context(holding)
            world.sessions.leases = {**held.leases, **world.sessions.leases}
            for name, lease in held.leases.items():
                own = {each.scope for each in members if each.host.name == name} - {scope}
                if own:
                    await include(
                        party.reached[name].session, lease, own, party.run_id, world.clock, wait=party.lock_wait
                    )
            for each in members:
                name = each.host.name
                if name in held.leases:
                    plain, lease = party.reached[name], held.leases[name]
                    fenced = fence(plain.session, lease), fence_hypervisor(plain.hypervisor, lease)
                    reached[each.label] = Reached(plain.host, *fenced)
                elif name in held.failed:
                    failed[each.label] = held.failed[name]
        try:
            yield Leased(reached, failed)
        finally:
            world.sessions.leases = {}


def _scopes(chosen: Iterable[Chosen]) -> Iterable[tuple[str, list[Chosen]]]:
    ordered = sorted(chosen, key=lambda each: (*_common(each), each.scope))
    for _, members in groupby(ordered, key=_common):
        group = list(members)
        yield group[0].environment or group[0].scope, group


def _common(chosen: Chosen) -> tuple[str, str]:
    """What those have in common that one lease is held for."""
    return chosen.environment, "" if chosen.environment else chosen.host.name


def step(
    chosen: Chosen, action: str, after: Sequence[str] = (), part: str = "", *, probed: bool = False, **args: Any
) -> Step:
    """One step of a VM: ``HOST/DOMAIN/PART``."""
    verb = part or action.rpartition(".")[2]
    return Step(
        id=f"{chosen.label}/{verb}",
        action=action,
        resource=chosen.label,
        host=chosen.host.name,
        step_class=StepClass.PROBED if probed else StepClass.CONVERGENT,
        args={"label": chosen.label, "domain": chosen.domain.name, **args},
        after=tuple(f"{chosen.label}/{each}" if "/" not in each else each for each in after),
        timeout=0.0,
        label=verb,
    )


async def carry_out(
    party: Party, held: Leased, verb: str, steps: Sequence[Step], actions: Registry, watch: Watch
) -> tuple[Sequence[NodeResult], bool]:
    """Run the steps through engine and journal, as a run of ``verb``. Their results, and whether it was interrupted."""
    clock, world = party.world.clock, party.world
    environments = {each.environment for each in party.everything}
    environment = environments.pop() if len(environments) == 1 else ""
    async with open_journal(world.places) as journal:
        await _begin(journal, party, verb, environment)
        with watch(len(steps)) as emit:
            engine = Engine(actions, _contexts(party, held, emit), journal, clock, emit=emit)
            cancellation = Cancellation()

            def said(stage: Stage) -> None:
                emit(Event("notice", clock.now(), party.run_id, text=NOTICES[stage]))

            with cancellation.signals(said):
                results = await engine.run(party.run_id, steps, cancellation=cancellation)
        cancelled = cancellation.stage is not Stage.RUN
        done = all(result.state is NodeState.DONE for result in results)
        state = RunState.DONE if done else RunState.CANCELLED if cancelled else RunState.FAILED
        await journal.finish(party.run_id, state, clock.now(), {"vms": len(party.everything)})
    return results, cancelled


async def _begin(journal: Journal, party: Party, verb: str, environment: str) -> None:
    holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
    header = {"vms": [each.label for each in party.everything], "environment": environment}
    await journal.begin(Run(party.run_id, "", verb, RunState.RUNNING, party.world.clock.now(), 0.0, holder, header))


def _contexts(party: Party, held: Leased, emit: Emit) -> Callable[[Step], ActionContext]:
    def context(step: Step) -> ActionContext:
        return context_of(party, held, step.resource, step.id, emit)

    return context


def context_of(party: Party, held: Leased, label: str, node: str, emit: Emit) -> StepContext:
    """What a step on a VM may use. Raises what kept it from its host or lease."""
    if label in held.failed:
        raise held.failed[label]
    chosen, now = party.of(label), party.world.clock.now
    nothing = Environment(chosen.environment, Location(""))
    return StepContext(held.reached[label], nothing, HostFacts(chosen.host.name, now()), party.run_id, node, emit, now)


def results_of(
    party: Party, results: Sequence[NodeResult], extra: Mapping[str, NovaFleetError]
) -> tuple[VmResult, ...]:
    """One row a VM or stack, and one for each host nobody saw; ``extra`` are VMs that failed before any step."""
    by_vm: dict[str, list[NodeResult]] = {}
    for result in results:
        by_vm.setdefault(result.resource, []).append(result)
    rows = []
    for each in party.everything:
        row = VmResult(each.vm, each.domain.name, each.host.name, each.environment, "done")
        if each.label in extra:
            finding = extra[each.label].finding()
            row = replace(row, state=_failed(finding), error=finding)
        rows.append(_concluded(row, by_vm.get(each.label, [])))
    unseen = (VmResult("", "", host, "", UNREACHABLE, error=error.finding()) for host, error in party.unseen.items())
    return (*rows, *unseen)


def _concluded(row: VmResult, results: Sequence[NodeResult]) -> VmResult:
    outcome: dict[str, Any] = dict(row.outcome)
    for result in results:
        removed = [*outcome.get("removed", ()), *result.outcome.get("removed", ())]
        outcome.update(result.outcome)
        outcome |= {"removed": removed} if removed else {}
        if result.error and row.error is None:
            row = replace(row, state=_failed(result.error), error=result.error)
        elif result.state is not NodeState.DONE and row.state == "done":
            row = replace(row, state="cancelled", outcome={"because": result.because})
    return replace(row, outcome={**outcome, **row.outcome})


def _failed(finding: Mapping[str, Any]) -> str:
    return UNREACHABLE if str(finding["code"]).startswith("NF-SSH-") else "failed"
