"""``up --snapshot-before``: a snapshot of each VM that a plan restarts, taken before anything of it changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from novafleet.capability.snapshot.create import create, created
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.plan import FS
from novafleet.errors import SnapshotError
from novafleet.model import address
from novafleet.model.environment import Environment
from novafleet.model.plan import Change, Impact, Reason, ResourceChange, Step, StepClass
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry

VERB = "snapshot"
TAG = "update"
KEPT = 7 * 86400.0
TIMEOUT = 900.0
DISRUPTIVE = (Impact.REBOOT, Impact.RECREATE)


def with_snapshots(environment: Environment, changes: Iterable[ResourceChange]) -> tuple[ResourceChange, ...]:
    """The same changes, those that restart a VM that is there with a snapshot before their first step.

    Raises SnapshotError NF-SNAP-016 for a VM whose snapshot could not outlive the change.
    """
    listed = tuple(changes)
    return tuple(_with(environment, each, listed) if _meant(environment, each) else each for each in listed)


def _meant(environment: Environment, change: ResourceChange) -> bool:
    """A VM that is there, is restarted, and has a disk to lose."""
    there = change.kind == "vm" and change.change in (Change.UPDATE, Change.REPLACE)
    return there and change.impact in DISRUPTIVE and bool(environment.vms[change.name].disks)


def _with(environment: Environment, change: ResourceChange, changes: tuple[ResourceChange, ...]) -> ResourceChange:
    _refuse(environment, change, changes)
    vm = environment.vms[change.name]
    first = Step(
        id=address.step(change.address, VERB),
        action="snapshot.before",
        resource=change.address,
        host=change.host,
        step_class=StepClass.PROBED,
        args={"domain": vm.domain},
        timeout=TIMEOUT,
        label=VERB,
    )
    rest = (each if each.check else replace(each, after=(*each.after, first.id)) for each in change.steps)
    reason = Reason(f"a snapshot is taken first, and kept {KEPT / 86400:g} d", source=vm.source)
    return replace(change, reasons=(*change.reasons, reason), steps=(first, *rest))


def _refuse(environment: Environment, change: ResourceChange, changes: tuple[ResourceChange, ...]) -> None:
    grown = [
        each.address
        for each in changes
        if each.kind == "volume" and each.change is Change.UPDATE and each.name.partition(".")[0] == change.name
    ]
    if change.impact is Impact.RECREATE:
        cause = "the VM is defined anew, and libvirt forgets its snapshots with the old definition"
    elif grown:
        cause = f"{grown[0]} grows, and a volume under a snapshot cannot"
    else:
        return
    raise SnapshotError(
        f"no snapshot of {change.name} can be taken that outlives this change",
        code="NF-SNAP-016",
        where=environment.vms[change.name].source,
        cause=cause,
        hints=(f"novafleet backup run {environment.name}/{change.name}", "then the same without --snapshot-before"),
    )


def _words(ctx: ActionContext, args: Mapping[str, Json]) -> Mapping[str, Json]:
    """A resumed run finds the snapshot by the same name."""
    domain = args["domain"]
    return {
        "label": f"{ctx.host.name}/{domain}",
        "domain": domain,
        "name": f"before-up-{ctx.run_id}",
        "text": f"before {ctx.run_id} changed the VM",
        "mode": FS,
        "require": "",
        "tags": [TAG],
        "expires": time.time() + KEPT,
        "environment": ctx.environment.name,
        "token": hashlib.sha256(f"{ctx.run_id}/{domain}".encode()).hexdigest()[:8],
    }


async def before(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Take the snapshot of ``args["domain"]``. Raises what taking one raises."""
    words, freezer = _words(ctx, args), Freezer()
    try:
        await freezer.ready(ctx, words)
        return await create(ctx, words, freezer)
    finally:
        await freezer.thaw(ctx, words["label"])


async def taken(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    """Did this run take it already?"""
    return await created(ctx, _words(ctx, args))


ACTIONS: Registry = {"snapshot.before": Action(before, StepClass.PROBED, taken)}
