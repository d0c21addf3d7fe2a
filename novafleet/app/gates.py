"""All gates of one VM, waited for at once through the host it is on."""

from __future__ import annotations

import time
from dataclasses import replace

from novafleet.app.context import StepContext
from novafleet.errors import Location
from novafleet.execute.gate import wait
from novafleet.model import address
from novafleet.model.environment import Environment, Vm
from novafleet.model.migration import GateSeen
from novafleet.together import together


async def wait_all(ctx: StepContext, vm: Vm) -> tuple[GateSeen, ...]:
    """What each saw, each given as long as it allows. Raises GateError for the first that is not met."""
    within = replace(ctx, environment=Environment("", Location(""), vms={vm.name: vm}))
    return await together(*(_met(within, vm, index) for index in range(len(vm.ready))))


async def _met(ctx: StepContext, vm: Vm, index: int) -> GateSeen:
    began = time.monotonic()
    seen = await wait(ctx, {"resource": address.vm(vm.name), "index": index})
    return GateSeen(vm.ready[index].label, str(seen["evidence"]), round(time.monotonic() - began, 1))
