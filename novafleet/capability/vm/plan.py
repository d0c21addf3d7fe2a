"""VMs of an environment against those a fleet has: what to make, change, restart, remove. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from novafleet.capability.vm import diff, shape
from novafleet.capability.vm.owned import (
    ACTIVE,
    RUNNING,
    Owned,
    elsewhere,
    observed,
    owned,
    refuse_asleep,
    refuse_between,
    refuse_foreign,
    refuse_snapshots,
    vm_address,
)
from novafleet.capability.vm.steps import START, Verbs, removal_steps, steps
from novafleet.model import address
from novafleet.model.environment import Environment, GateKind, Vm
from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.model.plan import Change, Impact, PlanOptions, Reason, ResourceChange, Step
from novafleet.plan.depend import dependants, gate_steps
from novafleet.plan.storage import rebuild

KIND = "vm"

CREATE: Verbs = ("seed", "define", "start")
RESTART: Verbs = ("stop", "seed", "define", "start")
RECREATE: Verbs = ("stop", "undefine", "seed", "define", "start")
STOP_TIMEOUT = 30.0
"""Seconds a guest that the file no longer has gets to power itself off."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be done with one VM, and why."""

    change: Change
    impact: Impact = Impact.LIVE
    reasons: tuple[Reason, ...] = ()
    verbs: Verbs = ()


def plan_up(
    environment: Environment,
    facts: FleetFacts,
    options: PlanOptions,  # noqa: ARG001 - every capability is planned by the same call
) -> tuple[ResourceChange, ...]:
    """Changes that make every VM what the file says, its gates included, and remove VMs the file no longer has.

    Raises ConfigError NF-VM-*, NF-VOL-003 and GuardError NF-GUARD-002 and -009. Hosts that did not answer are left out.
    """
    held = owned(environment, facts)
    hosts = {host.host: host for host in observed(facts)}
    changes = [_apply(environment, held, hosts[vm.host], vm) for vm in environment.vms.values() if vm.host in hosts]
    moving = [elsewhere(held, vm) for vm in environment.vms.values()]
    strays = (each for each in held if not _at_home(environment, each) and each not in moving)
    strays = (each for each in strays if not _between(environment, each))
    changes += (_remove(environment, held, each, environment.vms, keep=True) for each in strays)
    return tuple(changes)


def plan_down(
    environment: Environment,
    facts: FleetFacts,
    options: PlanOptions,
) -> tuple[ResourceChange, ...]:
    """Removal of every VM of this environment, dependants first. Volumes are the volume capability's.

    Raises GuardError NF-GUARD-006 for a VM with snapshots whose volumes stay, and NF-GUARD-007 for one between two
    hosts."""
    held = owned(environment, facts)
    for vm in environment.vms.values():
        refuse_between(vm)
    return tuple(_remove(environment, held, each, (), keep=not options.volumes) for each in held)


def _between(environment: Environment, each: Owned) -> bool:
    """Is it one of two copies of a VM whose migration has not ended?"""
    vm = environment.vms.get(each.name)
    return vm is not None and bool(vm.between)


def _at_home(environment: Environment, each: Owned) -> bool:
    vm = environment.vms.get(each.name)
    return vm is not None and vm.host == each.host and (each.domain is not None or vm.cloud_init is not None)


def _apply(environment: Environment, held: tuple[Owned, ...], host: HostFacts, vm: Vm) -> ResourceChange:
    target = address.vm(vm.name)
    if vm.between:
        why = Reason(f"{vm.between}: novafleet migrate recover", source=vm.source)
        return ResourceChange(target, KIND, vm.name, vm.host, Change.NONE, reasons=(why,))
    gates = gate_steps(environment, vm, target)
    desired = shape.desired(vm, environment, host)  # of a new VM too: what is wrong with it is said before it is begun
    domain = host.domains.get(vm.domain)
    before = elsewhere(held, vm) if domain is None else None
    if domain is not None:
        refuse_foreign(environment, vm, domain)
        found = diff.differences(vm, desired, shape.live(domain, environment, vm, host))
        anew = tuple(_rebuilt(environment, host, vm))
        if found or anew:
            refuse_asleep(vm, domain)
        verdict = _compare(vm, domain, found, anew, finished=_finished(domain, gates))
        if "undefine" in verdict.verbs:
            refuse_snapshots(environment, vm.name, vm.host, domain)
    elif before is not None:
        verdict = _move(vm, before)
    else:
        verdict = _Verdict(Change.CREATE, reasons=(Reason("it does not exist", source=vm.source),), verbs=CREATE)
    work = steps(environment, host, vm, verdict.verbs)
    reasons = (*verdict.reasons, *_settle(environment, vm))
    if before is not None:
        work = (*_gone(vm, before), *work)
    return ResourceChange(
        target, KIND, vm.name, vm.host, verdict.change, verdict.impact, reasons, steps=(*work, *gates)
    )


def _settle(environment: Environment, vm: Vm) -> tuple[Reason, ...]:
    """How the file and a migration agree again."""
    if not vm.moved_from:
        return ()
    back = f"novafleet migrate {environment.name}/{vm.name} --to {vm.moved_from}"
    text = f"it is at home on {vm.host} since its last migration; write `host: {vm.host}`, or move it: {back}"
    return (Reason(text, source=diff.origin(vm, "host")),)


def _gone(vm: Vm, before: Owned) -> tuple[Step, ...]:
    return removal_steps(before, address.vm(vm.name), vm.stop_timeout, ())


def _move(vm: Vm, before: Owned) -> _Verdict:
    source, target = before.host, vm.host
    text = f"host: {source} -> {target}"
    keep = f"`novafleet migrate {source}/{vm.domain} --to {target}` keeps its disks; this makes new ones"
    reasons = (Reason(text, "host", source, target, diff.origin(vm, "host")), Reason(keep, source=vm.source))
    return _Verdict(Change.REPLACE, Impact.DATA_LOSS if vm.disks else Impact.RECREATE, reasons, CREATE)


def _finished(domain: Domain, gates: tuple[Step, ...]) -> bool:
    """Did a VM that is meant to power itself off do so? Then it is as desired, and not to be started again."""
    meant = any(step.id.endswith("/completed") or step.label == GateKind.STOPPED for step in gates)
    return meant and domain.state == "shutoff" and domain.reason == "shutdown"


def _compare(
    vm: Vm, domain: Domain, found: tuple[diff.Difference, ...], anew: tuple[Reason, ...], *, finished: bool
) -> _Verdict:
    reasons = (*diff.reasons(vm, found), *anew)
    impact = diff.worst([*(each.impact for each in found), *(Impact.REBOOT for _ in anew)])
    verbs = _verbs(found, impact)
    if domain.state not in ACTIVE:
        impact = Impact.LIVE if impact is Impact.REBOOT else impact
        verbs = tuple(dict.fromkeys("define" if verb == "change" else verb for verb in verbs if verb != "stop"))
    if domain.state not in RUNNING and not finished:
        reasons = (*reasons, Reason(_state_text(domain), "state", domain.state, "running", vm.source))
        verbs = tuple(dict.fromkeys((*verbs, START)))
    if not reasons:
        return _Verdict(Change.NONE)
    change = Change.REPLACE if impact is Impact.RECREATE else Change.UPDATE
    return _Verdict(change, impact, reasons, verbs)


def _rebuilt(environment: Environment, host: HostFacts, vm: Vm) -> Iterator[Reason]:
    for disk in vm.disks.values():
        if rebuild(environment, host, disk):
            yield Reason(f"disk {disk.name} is made anew", source=disk.source)


def _verbs(found: tuple[diff.Difference, ...], impact: Impact) -> Verbs:
    if impact is Impact.LIVE:
        seed = any(each.field.startswith("seed.") for each in found)
        return ("seed", "change") if seed else ("change",) if found else ()
    return RECREATE if any(each.impact is Impact.RECREATE for each in found) else RESTART


def _state_text(domain: Domain) -> str:
    reason = f" ({domain.reason})" if domain.reason and domain.reason != "unknown" else ""
    return f"it is {domain.state}{reason}"


def _remove(
    environment: Environment, held: tuple[Owned, ...], each: Owned, reserved: Collection[str], *, keep: bool
) -> ResourceChange:
    if keep and each.domain is not None:
        refuse_snapshots(environment, each.name, each.host, each.domain)
    vm = environment.vms.get(each.name)
    target = vm_address(environment, held, each, reserved)
    users = tuple(address.step(user, "stop") for user in dependants(environment, address.vm(each.name)))
    work = removal_steps(each, target, vm.stop_timeout if vm is not None else STOP_TIMEOUT, users)
    return ResourceChange(
        target, KIND, each.name, each.host, Change.DELETE, reasons=_why(environment, each), steps=work
    )


def _why(environment: Environment, each: Owned) -> tuple[Reason, ...]:
    vm = environment.vms.get(each.name)
    if vm is None:
        return (Reason("no longer in the file", source=environment.source),)
    if each.domain is None:
        return (Reason("only its seed is there", source=vm.source),)
    return () if vm.host == each.host else (Reason(f"the file has it on {vm.host}", source=vm.source),)
