"""Drift of VMs three ways: the file, what was last applied, and what the host has now (docs/concepts/changes.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from novafleet.capability.vm import shape
from novafleet.capability.vm.diff import readable, same
from novafleet.capability.vm.owned import RUNNING, Owned, observed, owned, vm_address, vm_of
from novafleet.model import address
from novafleet.model.environment import Environment, Vm
from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.model.status import Drift

ABSENT, PRESENT = "absent", "present"


def drift(environment: Environment, facts: FleetFacts) -> Mapping[str, tuple[Drift, ...]]:
    """By address, every field in which a VM is not as the file says, and VMs the file no longer has.

    VMs without drift and those of hosts that did not answer are left out.
    """
    hosts = {host.host: host for host in observed(facts)}
    found = {
        address.vm(vm.name): tuple(_of_vm(environment, hosts[vm.host], vm))
        for vm in environment.vms.values()
        if vm.host in hosts
    }
    held = owned(environment, facts)
    for each in held:
        if each.name not in environment.vms and each.domain is not None:
            found[vm_address(environment, held, each, environment.vms)] = (_orphan(each),)
    return {target: drifts for target, drifts in found.items() if drifts}


def _orphan(each: Owned) -> Drift:
    state = each.domain.state if each.domain is not None else ABSENT
    return Drift("", ABSENT, PRESENT, state, "orphan")


def _of_vm(environment: Environment, host: HostFacts, vm: Vm) -> Iterator[Drift]:
    domain = host.domains.get(vm.domain)
    if vm.between:
        return
    if domain is None:
        yield Drift("", PRESENT, "", ABSENT, "missing")
        return
    if vm_of(environment, domain) != vm.name:
        yield Drift("", PRESENT, ABSENT, "foreign", "changed-on-host")
        return
    yield from _fields(environment, host, vm, domain)
    if domain.state not in RUNNING:
        yield Drift("state", "running", "running", domain.state, "changed-on-host")


def _fields(environment: Environment, host: HostFacts, vm: Vm, domain: Domain) -> Iterator[Drift]:
    desired, applied = shape.desired(vm, environment, host), shape.recorded(domain)
    live = shape.live(domain, environment, vm, host)
    for field in sorted(desired.keys() | live.keys()):
        wanted, before, now = desired.get(field, ""), applied.get(field, ""), live.get(field, "")
        if not same(field, wanted, now):
            shown = [readable(field, text) for text in (wanted, before, now)]
            yield Drift(field, shown[0], shown[1], shown[2], _kind(field, wanted, before, now))


def _kind(field: str, desired: str, applied: str, live: str) -> str:
    if same(field, applied, live):
        return "changed-in-file"
    return "changed-on-host" if same(field, desired, applied) else "both"
