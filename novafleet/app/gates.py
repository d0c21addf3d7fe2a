"""All gates of one VM or stack, waited for at once through the host it is on."""

from __future__ import annotations

import time
from dataclasses import replace

from novafleet.app.context import StepContext
from novafleet.errors import Location
from novafleet.execute.gate import wait
from novafleet.model import address
from novafleet.model.environment import Environment, Stack, Vm
from novafleet.model.migration import GateSeen
from novafleet.together import together


async def wait_all(ctx: StepContext, of: Vm | Stack) -> tuple[GateSeen, ...]:
    """What each saw, each given as long as it allows. Raises GateError for the first that is not met."""
    nothing = Environment("", Location(""))
    alone = replace(nothing, vms={of.name: of}) if isinstance(of, Vm) else replace(nothing, stacks={of.name: of})
    within = replace(ctx, environment=alone)
    return await together(*(_met(within, of, index) for index in range(len(of.ready))))


async def _met(ctx: StepContext, of: Vm | Stack, index: int) -> GateSeen:
    began = time.monotonic()
    resource = address.vm(of.name) if isinstance(of, Vm) else address.stack(of.name)
    seen = await wait(ctx, {"resource": resource, "index": index})
    return GateSeen(of.ready[index].label, str(seen["evidence"]), round(time.monotonic() - began, 1))
