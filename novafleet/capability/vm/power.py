"""The power of one VM, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping

from novafleet.capability.vm import actions
from novafleet.capability.vm.owned import refuse_unfinished_move
from novafleet.model.plan import StepClass
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


async def start(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """As ``up`` does, unless the VM is between two hosts: asked under the lease. Raises GuardError NF-GUARD-007."""
    adopted = await actions.started(ctx, args)
    if adopted is not None:
        return adopted
    refuse_unfinished_move(await ctx.hypervisor.domain(args["domain"]), ctx.host.name)
    return await actions.start(ctx, args)


REGISTRY: Registry = {
    "vm.start": Action(start, StepClass.CONVERGENT),
    "vm.stop": Action(actions.stop, StepClass.CONVERGENT),
}
