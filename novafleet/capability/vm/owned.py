"""Which domains on the hosts belong to an environment, and where they are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from novafleet.capability.vm.xml import overlaid
from novafleet.errors import GuardError, Location
from novafleet.model import address
from novafleet.model.environment import Environment, Vm
from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.plan import moving, record
from novafleet.plan.storage import owner_of_seed, seed_path

ACTIVE = frozenset(("running", "idle", "blocked", "paused", "pmsuspended", "inshutdown", "in-shutdown"))
"""States in which QEMU runs; ``idle`` is virsh's word for blocked."""

RUNNING = frozenset(("running", "idle", "blocked"))


@dataclass(frozen=True, slots=True)
class Owned:
    """What one host holds of one VM: its domain, or (``domain`` None) only a seed that a killed run left."""

    name: str
    host: str
    domain: Domain | None
    seed: str
    """Path of the seed it has or may have."""


def observed(facts: FleetFacts) -> Iterator[HostFacts]:
    """The hosts that answered."""
    return (host for host in facts.hosts.values() if not host.error)


def vm_of(environment: Environment, domain: Domain) -> str:
    """The name of the VM a domain is, or "" when it is not of this environment."""
    found = record.read(domain)
    return found.name if found is not None and found.environment == environment.name else ""


def owned(environment: Environment, facts: FleetFacts) -> tuple[Owned, ...]:
    """Everything of this environment's VMs on the hosts that answered, whether the file still names them or not."""
    return tuple(each for host in observed(facts) for each in _on(environment, host))


def _on(environment: Environment, host: HostFacts) -> Iterator[Owned]:
    found = {name: domain for domain in host.domains.values() if (name := vm_of(environment, domain))}
    seeds = {owner for path in host.files if (owner := owner_of_seed(environment, path))}
    for name in sorted(found.keys() | seeds):
        yield Owned(name, host.host, found.get(name), seed_path(host, environment.name, name))


def elsewhere(held: tuple[Owned, ...], vm: Vm) -> Owned | None:
    """The VM's domain on a host other than the file's, when the file's host has none: it is to move."""
    domains = [each for each in held if each.name == vm.name and each.domain is not None]
    at_home = any(each.host == vm.host for each in domains)
    return None if at_home else next(iter(domains), None)


def vm_address(environment: Environment, held: tuple[Owned, ...], each: Owned, reserved: Collection[str]) -> str:
    """``vm.db``, or ``vm.db@kvm1`` for what lies on another host than the VM of that name.

    Names in ``reserved`` belong to the VM on the file's host even while it has no domain there.
    """
    vm = environment.vms.get(each.name)
    holders = [other.host for other in held if other.name == each.name]
    home = vm.host if vm is not None and (vm.host in holders or each.name in reserved) else holders[0]
    return address.vm(each.name) if home == each.host else f"{address.vm(each.name)}@{each.host}"


def refuse_snapshots(environment: Environment, name: str, host: str, domain: Domain) -> None:
    """Raise GuardError NF-GUARD-006 when a domain that would be forgotten has snapshots: its definition alone tells on
    which images its disks are."""
    if overlaid(domain.xml):
        raise GuardError(
            f"VM {name} has snapshots",
            code="NF-GUARD-006",
            where=host,
            cause="what it wrote since the first of them would be lost with its definition",
            hints=(f"novafleet snapshot rm {environment.name}/{name} --all",),
        )


def refuse_asleep(vm: Vm, domain: Domain) -> None:
    """Raise GuardError NF-GUARD-009 for a VM that is to be changed while its memory waits in a managed save: its next
    start goes on as it was then, with devices and disks it might not have any more."""
    if domain.saved:
        raise GuardError(
            f"VM {vm.name} sleeps in a managed save, and the file changed it",
            code="NF-GUARD-009",
            where=vm.source,
            cause="its next start goes on with the devices and disks of then",
            hints=(
                f"novafleet vm start {vm.host}/{domain.name}   # wakes it, then: novafleet up",
                f"virsh managedsave-remove {domain.name}   # on {vm.host}: its memory is lost, as in a power cut",
            ),
        )


def refuse_between(vm: Vm) -> None:
    """Raise GuardError NF-GUARD-007 for a VM that a migration left between two hosts."""
    if vm.between:
        raise _between(vm.name, vm.source, vm.between)


def refuse_unfinished_move(domain: Domain, host: str) -> None:
    """The same for a domain as it was found, whoever made it."""
    found = moving.read(domain.xml)
    if found is not None and found.open:
        raise _between(domain.name, host, moving.unfinished(found))


def _between(name: str, where: str | Location, cause: str) -> GuardError:
    hints = ("novafleet migrate recover --explain   # then without --explain",)
    return GuardError(f"VM {name} is between two hosts", code="NF-GUARD-007", where=where, cause=cause, hints=hints)


def refuse_second_copy(domain: Domain, host: str, facts: FleetFacts) -> None:
    """Raise GuardError NF-GUARD-008 for a domain of ``host`` that runs on another one: the same UUID is the same VM."""
    for other in observed(facts):
        for each in other.domains.values():
            if other.host != host and each.uuid == domain.uuid and each.state in ACTIVE:
                raise GuardError(
                    f"{domain.name} runs on {other.host}",
                    code="NF-GUARD-008",
                    where=host,
                    cause=f"{other.host}/{each.name} has the same UUID, {domain.uuid}: this is an older copy of it",
                    hints=(f"novafleet vm stop {other.host}/{each.name}   # if that is the one to end",),
                )


def refuse_foreign(environment: Environment, vm: Vm, domain: Domain) -> None:
    """Raise GuardError NF-GUARD-002 when a domain of the VM's name was not made by this environment."""
    if vm_of(environment, domain) != vm.name:
        raise GuardError(
            f"{vm.host} has a domain {domain.name!r} that NovaFleet did not create",
            code="NF-GUARD-002",
            where=vm.source,
            cause=f"its UUID is {domain.uuid}, and it carries no record of {environment.name}/{vm.name}",
            hints=(
                f"rename VM {vm.name} or the environment, or remove the other one: "
                f"novafleet host exec -l {vm.host} -- virsh undefine {domain.name}",
            ),
        )
