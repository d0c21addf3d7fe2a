"""``backup run``: one journalled step per VM, each under its own lease."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from novafleet.app.backedup import UNREACHABLE, BackedUp, DiskBackup, VmBackup
from novafleet.app.backuphooks import hooks_for, read_hooks
from novafleet.app.context import Emit, Reached, StepContext, reach
from novafleet.app.datastores import Datastores
from novafleet.app.repository import open_repository
from novafleet.app.vmselect import Chosen, ChosenStack, Selection, look
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.capability.backup.actions import Prepared, back_up, estimate
from novafleet.capability.backup.gentle import Gentle
from novafleet.capability.backup.history import History
from novafleet.capability.backup.hooks import Hook, Hooks, on_host
from novafleet.capability.backup.order import Order
from novafleet.capability.backup.read import Pace
from novafleet.capability.backup.stack import StackPlace, back_up_stack, estimate_stack
from novafleet.capability.stack.bundle import directory
from novafleet.errors import BackupError, Location, NovaFleetError
from novafleet.execute.cancel import Cancellation, Stage
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.nested import hold_one
from novafleet.execute.schedule import Limits
from novafleet.model.backup import Snapshot, SnapshotKind
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.plan import Step, StepClass
from novafleet.model.policy import BackupLimits, HookRules
from novafleet.model.run import Event, NodeResult, NodeState, Run, RunState
from novafleet.model.snapshot import DiskLoad
from novafleet.ports import Action, ActionContext, Json, Outcome
from novafleet.repository import KeySource, Repository
from novafleet.store.journal import Journal, new_run_id
from novafleet.together import together

ACTION = "backup.vm"
VERB = "backup"
A_DAY = 86400.0
NO_LOGIN = ("NF-SSH-1", "NF-SSH-2", "NF-SSH-3")
"""How the codes of UnreachableError, TrustError and AuthError begin."""
STATES = {NodeState.DONE: "done", NodeState.CANCELLED: "cancelled", NodeState.SKIPPED: "cancelled"}


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """``patterns`` as ``vmselect`` understands them; ``parallel`` VMs at once. ``consistency``: auto | crash | fs."""

    inventory: tuple[Path, ...]
    patterns: tuple[str, ...]
    repository: str
    key: KeySource
    environment: str = ""
    full: bool = False
    consistency: str = "auto"
    limits: BackupLimits = field(default_factory=BackupLimits)
    parallel: int = 8
    hooks: HookRules = field(default_factory=HookRules)
    tags: tuple[str, ...] = ()
    lock_wait: float = 0.0
    exclude: tuple[str, ...] = ()
    """Disks, by name, that are left out."""


@dataclass(frozen=True, slots=True)
class Party:
    """The VMs of a run with the hosts they are on, and the repository they go to."""

    world: World
    repository: Repository
    request: BackupRequest
    selection: Selection
    reached: Mapping[str, Reached]
    failed: Mapping[str, NovaFleetError]
    run_id: str
    pace: Pace
    history: History
    datastores: Datastores
    scripts: dict[str, Hook]

    def of(self, label: str) -> Chosen:
        """A VM by its label."""
        return next(each for each in self.selection.chosen if each.label == label)

    def context(self, chosen: Chosen, node: str, emit: Emit) -> StepContext:
        """What a step on a VM may use. Raises its host's error when that was not reached."""
        name = chosen.host.name
        if name in self.failed:
            raise self.failed[name]
        nothing = Environment(chosen.environment, Location(""))
        now = self.world.clock.now
        return StepContext(self.reached[name], nothing, HostFacts(name, now()), self.run_id, node, emit, now)

    def order(self, chosen: Chosen, heartbeat: str = "") -> Order:
        """What is wanted of a VM."""
        request = self.request
        return Order(
            domain=chosen.domain.name,
            vm=chosen.vm,
            environment=chosen.environment,
            heartbeat=heartbeat,
            pace=self._pace_of(chosen),
            history=self.history,
            consistency=request.consistency,
            full=request.full,
            tags=request.tags,
            exclude=request.exclude,
            hooks=hooks_for(self.scripts, request.hooks, self.world.clock),
        )

    def _pace_of(self, chosen: Chosen) -> Gentle:
        hypervisor, name = self.reached[chosen.host.name].hypervisor, chosen.domain.name

        async def loads() -> Mapping[str, DiskLoad]:
            return (await hypervisor.disk_load([name])).get(name, {})

        latency = 0.0 if isinstance(chosen, ChosenStack) else self.request.limits.latency
        return Gentle(self.world.clock, self.pace, loads, latency)


async def run_backup(request: BackupRequest, watch: Callable[[int], AbstractContextManager[Emit]]) -> BackedUp:
    """Back up every VM the request means. A VM that fails does not raise; see ``BackedUp``.

    Raises ConfigError NF-VM-006, NF-VM-007 and NF-BAK-071, and what opening the repository raises.
    """
    async with open_world(request.inventory) as world, AsyncExitStack() as stack:
        began = world.clock.monotonic()
        party = await _gathered(world, stack, request, new_run_id(world.clock.now()))
        async with open_journal(world.places) as journal:
            with watch(len(party.selection.chosen)) as emit:
                results, cancelled = await _carried_out(party, journal, emit)
        seconds = world.clock.monotonic() - began
        return BackedUp(party.run_id, party.repository.store.url, _rows(party, results), seconds, cancelled)


async def plan_backup(request: BackupRequest) -> BackedUp:
    """``--dry-run``: how each disk would be read, and why. Changes nothing."""
    async with open_world(request.inventory) as world, AsyncExitStack() as stack:
        party = await _gathered(world, stack, request, "")
        rows = [await _estimated(party, chosen) for chosen in party.selection.chosen]
        return BackedUp("", party.repository.store.url, (*rows, *_unseen(party)))


async def _gathered(world: World, stack: AsyncExitStack, request: BackupRequest, run_id: str) -> Party:
    """The repository is opened while the hosts are asked; ``stack`` closes it."""
    scripts = read_hooks(request.hooks)
    repository, selection = await together(
        stack.enter_async_context(open_repository(request.repository, request.key)),
        look(world, request.patterns, request.environment, stacks=True),
    )
    reached, failed = await reach(world, {each.host.name for each in selection.chosen})
    return Party(
        world,
        repository,
        request,
        selection,
        reached,
        failed,
        run_id,
        Pace(world.clock, request.limits.bandwidth),
        History(repository),
        Datastores(request.limits.per_datastore),
        scripts,
    )


async def _carried_out(party: Party, journal: Journal, emit: Emit) -> tuple[Sequence[NodeResult], bool]:
    clock, request = party.world.clock, party.request
    header = {"repository": request.repository, "vms": [each.label for each in party.selection.chosen]}
    holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
    await journal.begin(Run(party.run_id, "", VERB, RunState.RUNNING, clock.now(), 0.0, holder, header))

    def context(step: Step) -> ActionContext:
        return party.context(party.of(step.resource), step.id, emit)

    action = Action(lambda ctx, args: _step(party, ctx, args), StepClass.CONVERGENT)
    engine = Engine(
        {ACTION: action}, context, journal, clock, Limits(request.limits.per_host, request.parallel), emit=emit
    )
    cancellation = Cancellation()
    with cancellation.signals(lambda stage: emit(Event("notice", clock.now(), party.run_id, text=_notice(stage)))):
        results = await engine.run(party.run_id, _steps(party.selection.chosen), cancellation=cancellation)
    done = all(result.state is NodeState.DONE for result in results) and not party.selection.unseen
    cancelled = cancellation.stage is not Stage.RUN
    state = RunState.DONE if done else RunState.CANCELLED if cancelled else RunState.FAILED
    await journal.finish(party.run_id, state, clock.now(), {"vms": len(results)})
    return results, cancelled


def _notice(stage: Stage) -> str:
    return "stopping after the VMs under way; Ctrl-C again cuts them off" if stage is Stage.STOP else "cutting off"


def _steps(chosen: Sequence[Chosen]) -> list[Step]:
    return [
        Step(
            id=f"{each.label}/backup",
            action=ACTION,
            resource=each.label,
            host=each.host.name,
            step_class=StepClass.CONVERGENT,
            args={"label": each.label},
            timeout=A_DAY,
            retries=1,
            label="backup",
        )
        for each in chosen
    ]


async def _step(party: Party, ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Back one VM up under its own lease: VMs of one host do not wait for each other, two controllers do."""
    chosen = party.of(args["label"])
    session, clock = party.reached[chosen.host.name].session, party.world.clock
    async with (
        party.datastores.place(session, chosen.domain) as datastores,
        hold_one(session, chosen.scope, party.run_id, clock, wait=party.request.lock_wait) as lease,
    ):
        reached = Reached(chosen.host, fence(session, lease), fence_hypervisor(ctx.hypervisor, lease))
        fenced = replace(cast("StepContext", ctx), reached=reached)
        order = party.order(chosen, lease.file)
        snapshot = await _snapshot(party, fenced, chosen, order)
    held_up = {"datastores": list(datastores), "paused": round(cast("Gentle", order.pace).paused, 3)}
    return {**outcome_of(snapshot), **held_up, "warnings": _warnings(order.hooks, snapshot)}


async def _snapshot(party: Party, ctx: ActionContext, chosen: Chosen, order: Order) -> Snapshot:
    repository, clock, hooks = party.repository, party.world.clock, order.hooks
    async with on_host(ctx, hooks, chosen.domain.name) if hooks else nullcontext():
        if isinstance(chosen, ChosenStack):
            return await back_up_stack(ctx, repository, clock, order, place_of(chosen), chosen.domain.uuid)
        return await back_up(ctx, repository, clock, order)


def _warnings(hooks: Hooks | None, snapshot: Snapshot) -> list[str]:
    """What hooks had against it. Raises the first of it where hooks may fail a backup, which is there all the same."""
    failed = hooks.failed if hooks else []
    if failed and hooks is not None and hooks.strict:
        raise BackupError(
            failed[0].what,
            code=failed[0].code,
            where=failed[0].where,
            cause=f"{failed[0].cause}; snapshot {snapshot.id} was made all the same",
            hints=failed[0].hints,
        ) from failed[0]
    return [str(each) for each in failed]


def place_of(chosen: ChosenStack) -> StackPlace:
    """Where a stack is on its host."""
    fact = chosen.fact
    return StackPlace(fact.project, fact.runtime, fact.kind, directory(fact.project))


def outcome_of(snapshot: Snapshot) -> Outcome:
    """What the journal remembers of a snapshot."""
    disks = [
        {
            "name": disk.name,
            "target": disk.target,
            "mode": disk.mode.value,
            "why": disk.why,
            "size": disk.size,
            "bytes_read": disk.bytes_read,
            "bytes_stored": disk.bytes_stored,
        }
        for disk in snapshot.disks.values()
    ]
    return {"snapshot": snapshot.id, "at": snapshot.at, "consistency": snapshot.consistency.value, "disks": disks}


def _rows(party: Party, results: Sequence[NodeResult]) -> tuple[VmBackup, ...]:
    return (*(_row(party.of(result.resource), result) for result in results), *_unseen(party))


def _row(chosen: Chosen, result: NodeResult) -> VmBackup:
    said = result.outcome
    return VmBackup(
        vm=chosen.vm,
        domain=chosen.domain.name,
        host=chosen.host.name,
        state=_state(result.error) if result.error else STATES.get(result.state, "failed"),
        environment=chosen.environment,
        snapshot=str(said.get("snapshot", "")),
        consistency=str(said.get("consistency", "")),
        seconds=result.ended - result.started,
        disks=tuple(DiskBackup(**disk) for disk in said.get("disks", ())),
        error=result.error,
        kind=_kind(chosen),
        at=float(said.get("at", 0.0)),
        datastores=tuple(said.get("datastores", ())),
        paused=float(said.get("paused", 0.0)),
        warnings=tuple(said.get("warnings", ())),
    )


def _kind(chosen: Chosen) -> str:
    return (SnapshotKind.STACK if isinstance(chosen, ChosenStack) else SnapshotKind.VM).value


def _state(error: Mapping[str, Any]) -> str:
    return UNREACHABLE if str(error["code"]).startswith(NO_LOGIN) else "failed"


def _unseen(party: Party) -> tuple[VmBackup, ...]:
    """Hosts that were not seen may have VMs that were meant."""
    return tuple(
        VmBackup("", "", host, UNREACHABLE, error=error.finding()) for host, error in party.selection.unseen.items()
    )


async def _estimated(party: Party, chosen: Chosen) -> VmBackup:
    row = VmBackup(chosen.vm, chosen.domain.name, chosen.host.name, "planned", chosen.environment, kind=_kind(chosen))
    try:
        context = party.context(chosen, f"{chosen.label}/estimate", lambda _event: None)
        if isinstance(chosen, ChosenStack):
            sizes = await estimate_stack(context, party.order(chosen), place_of(chosen), chosen.domain.uuid)
            return replace(row, disks=_archives(sizes))
        prepared, most = await estimate(context, party.order(chosen))
    except NovaFleetError as error:
        finding = error.at(chosen.host.name).finding()
        return replace(row, state=_state(finding), error=finding)
    return replace(row, disks=_planned(prepared, most))


def _archives(sizes: Mapping[str, int]) -> tuple[DiskBackup, ...]:
    why = "volumes are read whole, an image once"
    return tuple(DiskBackup(name, "", "", why, size, size, 0) for name, size in sizes.items())


def _planned(prepared: Prepared, most: Mapping[str, int]) -> tuple[DiskBackup, ...]:
    return tuple(
        DiskBackup(
            each.disk.name, each.disk.target, each.mode.value, each.why, each.image.size, most[each.disk.target], 0
        )
        for each in prepared.plans
    )
