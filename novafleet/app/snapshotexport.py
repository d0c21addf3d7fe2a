"""``snapshot export``: one VM with its snapshots to a file on this machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novafleet.app.party import Done, Party, Selected, Watch, carry_out, leased, party, results_of, step
from novafleet.app.snapshotrun import thaw
from novafleet.capability.snapshot.archive import refuse_existing
from novafleet.capability.snapshot.export import export
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.errors import ConfigError
from novafleet.model.plan import Step, StepClass
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


async def export_vm(
    asked: Selected, names: tuple[str, ...], path: Path, watch: Watch, *, mode: str, require: str = ""
) -> Done:
    """Write a VM with its snapshots (or those named) as it is now. ``mode`` crash | fs, as for a snapshot.

    Raises ConfigError NF-CFG-005 for several VMs, SnapshotError NF-SNAP-011 for a file that is there; what fails later
    does not raise: see ``Done``.
    """
    refuse_existing(path)
    async with party(asked) as crew, leased(crew) as held:
        if len(crew.chosen) != 1:
            what = f"an archive holds one VM, not {len(crew.chosen)}"
            raise ConfigError(what, code="NF-CFG-005", hints=(f"name one: {crew.chosen[0].label}",))
        began = crew.world.clock.monotonic()
        freezer = Freezer()
        steps = [_step(crew, names, path, mode, require)]
        try:
            results, cancelled = await carry_out(crew, held, "snapshot export", steps, _actions(freezer), watch)
        finally:
            await thaw(crew, held, freezer)
        seconds = crew.world.clock.monotonic() - began
        return Done("export", crew.run_id, results_of(crew, results, {}), seconds, cancelled)


def _step(crew: Party, names: tuple[str, ...], path: Path, mode: str, require: str) -> Step:
    words: dict[str, Any] = {"names": list(names), "path": str(path), "mode": mode, "require": require}
    return step(crew.chosen[0], "snapshot.export", token=secrets.token_hex(4), now=crew.world.clock.now(), **words)


def _actions(freezer: Freezer) -> Registry:
    async def act(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
        return await export(ctx, args, freezer)

    return {"snapshot.export": Action(act, StepClass.CONVERGENT)}
