"""What the steps of snapshot runs do. ``args`` always name the ``domain``; ``label`` is ``HOST/DOMAIN``."""

from __future__ import annotations

from collections.abc import Mapping

from novafleet.capability.snapshot import create, revert, tidy, volumes
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.model.plan import StepClass
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


def registry(freezer: Freezer) -> Registry:
    """The actions of one run."""

    async def make(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
        return await create.create(ctx, args, freezer)

    return {
        "snapshot.freeze": Action(freezer.ready, StepClass.CONVERGENT),
        "snapshot.create": Action(make, StepClass.PROBED, create.created),
        "snapshot.stop": Action(revert.stop, StepClass.CONVERGENT),
        "snapshot.switch": Action(revert.switch, StepClass.CONVERGENT),
        "snapshot.start": Action(revert.start, StepClass.PROBED, revert.started),
        "snapshot.forget": Action(tidy.forget, StepClass.CONVERGENT),
        "snapshot.tidy": Action(tidy.tidy, StepClass.CONVERGENT),
        "snapshot.volumes": Action(volumes.take, StepClass.PROBED, volumes.taken),
        "snapshot.volumes-back": Action(volumes.put, StepClass.CONVERGENT),
        "snapshot.volumes-forget": Action(volumes.remove, StepClass.CONVERGENT),
    }
