"""The steps that change one VM, and what each of them waits for. An edge to a step that is not planned is met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from novafleet.capability.vm.owned import ACTIVE, Owned
from novafleet.model import address
from novafleet.model.environment import Environment, NetworkMode, Vm
from novafleet.model.facts import HostFacts
from novafleet.model.plan import Step, StepClass
from novafleet.plan.depend import prerequisites

Verbs = tuple[str, ...]
START = "start"
TIMEOUT = 120.0
STOP_MARGIN = 60.0
"""Seconds a stop may take beyond the guest's own time, for the connection and for pulling the plug."""

_LABELS = {"seed": "cloud-init seed", "start": "boot"}


def steps(environment: Environment, host: HostFacts, vm: Vm, verbs: Verbs) -> tuple[Step, ...]:
    """One step a verb; a VM without cloud-init has no seed to make."""
    wanted = (verb for verb in verbs if verb != "seed" or vm.cloud_init is not None)
    return tuple(_step(environment, host, vm, verb) for verb in wanted)


def _step(environment: Environment, host: HostFacts, vm: Vm, verb: str) -> Step:
    target = address.vm(vm.name)
    arguments: dict[str, Any] = {"vm": vm.name}
    if verb in (START, "undefine"):  # which is to define it anew: the seed stays
        arguments = {"domain": vm.domain}
    if verb == "stop":
        arguments = {"domain": vm.domain, "grace": vm.stop_timeout}
    return Step(
        id=address.step(target, verb),
        action=f"vm.{verb}",
        resource=target,
        host=host.host,
        step_class=StepClass.PROBED if verb == START else StepClass.CONVERGENT,
        args=arguments,
        after=tuple(dict.fromkeys(_AFTER[verb](environment, vm))),
        timeout=vm.stop_timeout + STOP_MARGIN if verb == "stop" else TIMEOUT,
        label=_LABELS.get(verb, verb),
    )


def _own(vm: Vm, *verbs: str) -> Iterator[str]:
    return (address.step(address.vm(vm.name), verb) for verb in verbs)


def _before_stop(environment: Environment, vm: Vm) -> Iterator[str]:
    """What replaces it must be there first: a fetch that fails then costs no downtime."""
    return _images(environment, vm)


def _before_change(environment: Environment, vm: Vm) -> Iterator[str]:
    yield from _own(vm, "seed")
    yield from _volumes(vm)
    yield from _networks(environment, vm)


def _before_start(environment: Environment, vm: Vm) -> Iterator[str]:
    yield from _own(vm, "define", "seed", "stop")
    yield from _volumes(vm)
    yield from _networks(environment, vm)
    yield from _images(environment, vm)
    yield from prerequisites(environment, vm.depends_on)


_AFTER: dict[str, Callable[[Environment, Vm], Iterator[str]]] = {
    "seed": lambda _, vm: _own(vm, "undefine"),
    "define": lambda _, vm: _own(vm, "seed", "stop", "undefine"),
    "undefine": lambda _, vm: _own(vm, "stop"),
    "stop": _before_stop,
    "change": _before_change,
    "start": _before_start,
}


def _volumes(vm: Vm) -> Iterator[str]:
    for disk in vm.disks:
        target = address.volume(vm.name, disk)
        yield address.step(target, "create")
        yield address.step(target, "resize")


def _networks(environment: Environment, vm: Vm) -> Iterator[str]:
    for nic in vm.nics.values():
        if environment.networks[nic.network].mode is not NetworkMode.BRIDGE:
            yield address.step(address.network(nic.network, vm.host), "apply")


def _images(environment: Environment, vm: Vm) -> Iterator[str]:
    names = [vm.boot, *(disk.image for disk in vm.disks.values())]
    return (address.step(address.image(name, vm.host), "fetch") for name in names if name in environment.images)


def removal_steps(each: Owned, target: str, grace: float, after: tuple[str, ...]) -> tuple[Step, ...]:
    """Stop (when it runs) after its dependants did, then undefine with its seed."""
    made: list[Step] = []
    domain = each.domain.name if each.domain is not None else ""
    if each.domain is not None and each.domain.state in ACTIVE:
        arguments = {"domain": domain, "grace": grace}
        made.append(_removal(each, target, "stop", arguments, after, grace + STOP_MARGIN))
        after = ()
    arguments = {"domain": domain, "seed": each.seed}
    made.append(_removal(each, target, "undefine", arguments, (*after, address.step(target, "stop")), TIMEOUT))
    return tuple(made)


def _removal(
    each: Owned, target: str, verb: str, arguments: dict[str, Any], after: tuple[str, ...], timeout: float
) -> Step:
    return Step(
        id=address.step(target, verb),
        action=f"vm.{verb}",
        resource=target,
        host=each.host,
        step_class=StepClass.CONVERGENT,
        args=arguments,
        after=after,
        timeout=timeout,
        label=verb,
    )
