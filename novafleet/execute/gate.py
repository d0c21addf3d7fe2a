"""Waiting for evidence: a gate is probed through its resource's host until it sees what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from novafleet.errors import GateError, NovaFleetError, Retry
from novafleet.execute.probe import Evidence, last_words, probe_once
from novafleet.model.environment import Environment, Gate, Stack, Vm
from novafleet.model.plan import StepClass
from novafleet.plan.depend import COMPLETION
from novafleet.plan.storage import serial_log
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry

__all__ = ["ACTIONS", "Evidence", "probe_once", "wait"]

TIMED_OUT, GAVE_UP = "NF-GATE-001", "NF-GATE-002"


async def wait(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Probe gate ``args["index"]`` of ``args["resource"]`` (or its completion) until it is met.

    Raises GateError NF-GATE-001 after the gate's timeout; NF-GATE-002 when its retries are used up or the evidence
    says that waiting cannot help. Failures within ``start_period`` are not counted.
    """
    resource = _resource(ctx.environment, args["resource"])
    gate = COMPLETION if args.get("completed") else resource.ready[args["index"]]
    watch = _Watch(ctx, gate, resource)
    try:
        async with asyncio.timeout(gate.timeout):
            return await watch.until_met()
    except TimeoutError as error:
        raise await _unmet(watch, f"after {gate.timeout:g} s", TIMED_OUT) from error


class _Watch:
    """One gate being waited for."""

    def __init__(self, ctx: ActionContext, gate: Gate, resource: Vm | Stack) -> None:
        self.ctx, self.gate, self.resource = ctx, gate, resource
        self.last = Evidence(False, "not probed yet")
        self._tries = 0
        self._failures = 0

    async def until_met(self) -> Outcome:
        loop = asyncio.get_running_loop()
        counted_from = loop.time() + self.gate.start_period
        while not (await self._look()).ok:
            self._failures += loop.time() >= counted_from
            if self.last.final:
                raise await _unmet(self, "and will not be", GAVE_UP)
            if 0 < self.gate.retries < self._failures:
                raise await _unmet(self, f"after {self._tries} tries", GAVE_UP)
            await asyncio.sleep(self.gate.interval)
        return {"evidence": self.last.text, "tries": self._tries}

    async def _look(self) -> Evidence:
        self._tries += 1
        seen = await probe_once(self.ctx, self.gate, self.resource)
        if seen != self.last:
            self.last = seen
            self.ctx.progress(seen.text)
        return seen


def _resource(environment: Environment, target: str) -> Vm | Stack:
    kind, _, name = target.partition(".")
    return environment.vms[name] if kind == "vm" else environment.stacks[name]


async def _unmet(watch: _Watch, how: str, code: str) -> GateError:
    resource = watch.resource
    more, hints = await _of_vm(watch.ctx, resource) if isinstance(resource, Vm) else _of_stack(watch.ctx, resource)
    return GateError(
        f"{resource.name} is not ready {how}: gate {watch.gate.label}",
        code=code,
        where=watch.gate.source if watch.gate.source.file else resource.source,
        cause="; ".join(each for each in (watch.last.text, more) if each),
        hints=hints,
        retry=Retry.AFTER_FIX,
    )


async def _of_vm(ctx: ActionContext, vm: Vm) -> tuple[str, tuple[str, ...]]:
    hints = (f"novafleet host exec -l {vm.host} -- tail -n 30 {serial_log(vm)}",)
    try:
        state = (await ctx.hypervisor.domain_state(vm.domain)).state
        said = await last_words(ctx, vm)
    except NovaFleetError as error:  # the gate's own failure is what matters
        return f"{error}", hints
    return f"{vm.domain} is {state}" + (f", its serial console ends with: {said}" if said else ""), hints


def _of_stack(ctx: ActionContext, stack: Stack) -> tuple[str, tuple[str, ...]]:
    fact = ctx.facts.stacks.get(stack.project)
    engine = fact.runtime if fact else stack.runtime if stack.runtime != "auto" else "docker"
    label = f"label=com.docker.compose.project={stack.project}"
    return "", (f"novafleet host exec -l {stack.host} -- {engine} ps -a --filter {label}",)


ACTIONS: Registry = {"gate.wait": Action(wait, StepClass.CONVERGENT)}
