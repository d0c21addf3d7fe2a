"""``restore SNAPSHOT --stack NAME``: a container stack out of a repository, on a host, brought up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from novafleet.app.errand import Watch
from novafleet.app.repository import open_repository
from novafleet.app.restore import (
    NAME,
    Confirm,
    Party,
    RestoreRequest,
    VmRestored,
    carried_out,
    gathered,
    outcome,
)
from novafleet.app.restorepoint import choose
from novafleet.app.wiring import open_world
from novafleet.capability.backup.stack import StackPlace
from novafleet.capability.backup.stack_restore import restore_stack
from novafleet.capability.stack import bundle
from novafleet.capability.stack.actions import TIMEOUT, starter
from novafleet.capability.stack.runtime import Runner
from novafleet.capability.stack.runtime import choose as choose_runner
from novafleet.errors import BackupError, ConfigError, Location, Retry
from novafleet.model.backup import Snapshot, SnapshotKind
from novafleet.model.environment import Stack
from novafleet.model.facts import HostFacts
from novafleet.ports import ActionContext, Outcome

OBSERVED = ("libvirt", "system", "containers")


async def restore_stack_to_host(request: RestoreRequest, confirm: Confirm, watch: Watch) -> VmRestored:
    """Put a stack back and bring it up. A failure of the step does not raise; see ``VmRestored``.

    Raises ConfigError NF-BAK-040, NF-BAK-062, NF-STK-002, what opening the repository raises, and the error of a host
    that cannot be reached.
    """
    async with open_world(request.inventory) as world, open_repository(request.repository, request.key) as repository:
        snapshot = await choose(repository, request.snapshot, request.until)
        _refuse_other(snapshot, request)
        was = snapshot.domain.removeprefix("stack.")
        project = request.name or was
        _refuse_renamed(snapshot, renamed=project != was)
        party, _ = await gathered(world, repository, request, snapshot, OBSERVED)
        runner = runner_of(snapshot, project, party.facts)
        place = StackPlace(project, runner.engine, str(snapshot.facts["kind"]), bundle.directory(project))
        if not confirm(_question(party, place, in_place=request.in_place)):
            return VmRestored("", snapshot.id, party.facts.host, "declined")

        async def work(ctx: ActionContext) -> Outcome:
            at = world.clock.now()
            restored = await restore_stack(ctx, repository, snapshot, place, at, in_place=request.in_place)
            if project != was:
                await own_record(ctx, place, runner)
            if request.start is False:
                return outcome(restored)
            await bring_up(ctx, place, runner)
            return outcome(replace(restored, started=True))

        return await carried_out(party, f"stack.{project}", work, watch, scope=f"stack.{project}")


def _refuse_other(snapshot: Snapshot, request: RestoreRequest) -> None:
    names = (snapshot.vm.removeprefix("stack."), snapshot.domain.removeprefix("stack."))
    if snapshot.kind is not SnapshotKind.STACK or request.stack not in names:
        raise ConfigError(
            f"{snapshot.id} is a snapshot of {snapshot.vm}, not of a stack {request.stack!r}",
            code="NF-BAK-062",
            where=request.repository,
            hints=("novafleet backup ls 'stack.*'   # snapshots of stacks",),
        )
    if request.name and not NAME.fullmatch(request.name):
        raise ConfigError(f"--as takes letters, digits, '.', '_' and '-', not {request.name!r}", code="NF-BAK-040")


def _refuse_renamed(snapshot: Snapshot, *, renamed: bool) -> None:
    if renamed and snapshot.facts["kind"] != "compose":
        raise ConfigError(
            f"a {snapshot.facts['kind']} stack comes back under its own name only",
            code="NF-BAK-062",
            where=snapshot.id,
            cause="its files say what its containers and volumes are called",
            hints=("leave --as out",),
        )


def runner_of(snapshot: Snapshot, project: str, facts: HostFacts) -> Runner:
    """What runs it there: the engine it had, or whatever can. Raises ConfigError NF-STK-002."""
    kind = str(snapshot.facts["kind"])
    stack = stack_of(snapshot.domain, facts.host, project, kind)
    had = str(snapshot.facts["engine"])
    return choose_runner(replace(stack, runtime=had if had in facts.engines else "auto"), facts)


def stack_of(name: str, host: str, project: str, kind: str, entry: str = "") -> Stack:
    """A stack of no environment file."""
    return Stack(name, host, project, kind, entry, (), "", source=Location(""))


def _question(party: Party, place: StackPlace, *, in_place: bool) -> str:
    snapshot = party.snapshot
    how = "in place of what is there" if in_place else "and bring it up"
    return f"Restore {snapshot.vm} of {snapshot.id} to {party.facts.host} as {place.project}, {how}?"


async def own_record(ctx: ActionContext, place: StackPlace, runner: Runner, **more: Any) -> None:
    """A copy is of no environment: the next `up` would take it for a stack that is not in its file any more."""
    record = {**await _record(ctx, place), "environment": "", "runtime": runner.engine, **more}
    text = json.dumps(record, indent=2).encode()
    await ctx.session.push(text, _path(place), mode=0o600, become=True)


async def bring_up(ctx: ActionContext, place: StackPlace, runner: Runner) -> None:
    """Start what was restored. Raises BackupError NF-BAK-063, NF-BAK-064."""
    entry = str((await _record(ctx, place))["entry"])
    stack = stack_of(place.project, ctx.host.name, place.project, place.kind, entry)
    done = await ctx.session.run(starter(stack, runner.provider, recreate=True), check=False, timeout=TIMEOUT)
    if not done.ok:
        raise BackupError(
            f"{place.project} is back, but did not start: {runner.provider} ended with {done.status}",
            code="NF-BAK-064",
            where=ctx.host.name,
            cause=done.stderr.decode("utf-8", "replace").strip()[-400:],
            hints=(f"novafleet host exec -l {ctx.host.name} -- {runner.engine} ps -a",),
            retry=Retry.AFTER_FIX,
        )


def _path(place: StackPlace) -> str:
    return f"{place.root}/{bundle.RECORD}"


async def _record(ctx: ActionContext, place: StackPlace) -> dict[str, Any]:
    """What is kept with a bundle. Raises BackupError NF-BAK-063 when it is none, or leads out of the bundle."""
    return parsed(await ctx.session.pull(_path(place), become=True), f"{ctx.host.name}:{_path(place)}")


def parsed(text: bytes, where: str) -> dict[str, Any]:
    """A bundle's record. Raises BackupError NF-BAK-063 when it is none, or leads out of the bundle."""
    try:
        record: dict[str, Any] = json.loads(text)
        entry = PurePosixPath(str(record["entry"]))
    except (ValueError, TypeError, KeyError) as exc:
        raise BackupError("the bundle has no record", code="NF-BAK-063", where=where) from exc
    if entry.is_absolute() or ".." in entry.parts:
        raise BackupError("its entry leads out of the bundle", code="NF-BAK-063", where=where)
    return record
