"""Networks of an environment against those a fleet has: what to define, restart, tell of new leases, remove. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from novafleet.capability.network import xml
from novafleet.capability.network.check import check, ours
from novafleet.model import address
from novafleet.model.environment import Environment, Network, NetworkMode
from novafleet.model.facts import Domain, FleetFacts, HostFacts, NetworkFact
from novafleet.model.plan import Change, Impact, PlanOptions, Reason, ResourceChange, Step, StepClass

KIND = "network"
TIMEOUT = 60.0
LINK_LOST = "running guests lose their link until the network is back"


def plan_up(
    environment: Environment,
    facts: FleetFacts,
    options: PlanOptions,  # noqa: ARG001 - every capability is planned by the same call
) -> tuple[ResourceChange, ...]:
    """Changes that make every desired network right on each of its hosts and remove our orphans.

    Raises ConfigError NF-NET-* and GuardError NF-GUARD-003. Hosts without facts are left out.
    """
    changes: list[ResourceChange] = []
    for host in _observed(facts):
        check(environment, host)
        changes += (
            _apply(environment, network, host)
            for network in environment.networks.values()
            if host.host in network.hosts
        )
        changes += (_remove(environment, host, fact) for fact in _orphans(environment, host))
    return tuple(changes)


def plan_down(
    environment: Environment,
    facts: FleetFacts,
    options: PlanOptions,  # noqa: ARG001 - every capability is planned by the same call
) -> tuple[ResourceChange, ...]:
    """Removal of every network of ours, after the VMs in it are undefined; one that others use is kept."""
    return tuple(
        _remove(environment, host, fact)
        for host in _observed(facts)
        for fact in host.networks.values()
        if _is_ours(environment, fact)
    )


def _observed(facts: FleetFacts) -> Iterator[HostFacts]:
    return (host for host in facts.hosts.values() if not host.error)


def _prefix(environment: Environment) -> str:
    return f"{environment.name.lower()}-"


def _is_ours(environment: Environment, fact: NetworkFact) -> bool:
    return fact.name.startswith(_prefix(environment)) and ours(environment.name, fact)


def _orphans(environment: Environment, host: HostFacts) -> tuple[NetworkFact, ...]:
    desired = {each.libvirt_name for each in environment.networks.values() if _makes(each) and host.host in each.hosts}
    facts = host.networks.values()
    return tuple(fact for fact in facts if fact.name not in desired and _is_ours(environment, fact))


def _makes(network: Network) -> bool:
    return network.mode is not NetworkMode.BRIDGE


def _apply(environment: Environment, network: Network, host: HostFacts) -> ResourceChange:
    name = address.network(network.name, host.host)
    fact = host.networks.get(network.libvirt_name)
    if not _makes(network):
        return ResourceChange(name, KIND, network.name, host.host, Change.NONE)
    desired = xml.shape(xml.definition(environment.name, network, host.host))
    change, impact, reasons, action, args = _difference(network, desired, fact)
    if change is Change.NONE:
        return ResourceChange(name, KIND, network.name, host.host, Change.NONE)
    step = Step(
        id=address.step(name, "apply"),
        action=action,
        resource=name,
        host=host.host,
        step_class=StepClass.CONVERGENT,
        args={"network": network.name, **args},
        after=tuple(_freed_by(environment, network, host)),
        timeout=TIMEOUT,
        label="network",
    )
    return ResourceChange(name, KIND, network.name, host.host, change, impact, reasons, steps=(step,))


def _freed_by(environment: Environment, network: Network, host: HostFacts) -> Iterator[str]:
    """Steps that free the subnet this network takes over, of orphans and others: two bridges cannot hold it at once."""
    wanted = xml.subnets(xml.definition(environment.name, network, host.host))
    for fact in _orphans(environment, host):
        if any(mine.overlaps(theirs) for mine in wanted for theirs in xml.subnets(fact.xml)):
            yield address.step(address.network(_short(environment, fact), host.host), "remove")
    for other in _in_the_way(environment, network, host):
        if not _waits(environment, other, network, host):
            yield address.step(address.network(other.name, host.host), "apply")


def _in_the_way(environment: Environment, network: Network, host: HostFacts) -> Iterator[Network]:
    """Other networks of the file that run on this one's new subnet, and so are to leave it."""
    wanted = xml.subnets(xml.definition(environment.name, network, host.host))
    for other in environment.networks.values():
        fact = host.networks.get(other.libvirt_name)
        if other.name == network.name or not _makes(other) or host.host not in other.hosts:
            continue
        if fact is None or not fact.active:
            continue
        if any(mine.overlaps(theirs) for mine in wanted for theirs in xml.subnets(fact.xml)):
            yield other


def _waits(environment: Environment, waiting: Network, network: Network, host: HostFacts) -> bool:
    """Would ``waiting`` itself wait for the network, directly or not? They swap, and neither can be first."""
    seen, queue = {waiting.name}, [waiting]
    while queue:
        for other in _in_the_way(environment, queue.pop(), host):
            if other.name not in seen:
                seen.add(other.name)
                queue.append(other)
    return network.name in seen


_Difference = tuple[Change, Impact, tuple[Reason, ...], str, dict[str, Any]]


def _difference(network: Network, desired: xml.Shape, fact: NetworkFact | None) -> _Difference:
    if fact is None:
        reason = Reason("it does not exist", source=network.source)
        return Change.CREATE, Impact.LIVE, (reason,), "network.define", {}
    live = xml.shape(fact.xml)
    fixed = tuple(_fields(network, desired, live))
    entries = _entries(network, desired, live)
    state = tuple(_state(network, fact))
    if not (fixed or entries or state):
        return Change.NONE, Impact.LIVE, (), "", {}
    reasons = (*fixed, *entries, *state)
    if fixed and fact.active:
        lost = Reason(LINK_LOST, source=network.source)
        return Change.UPDATE, Impact.RECREATE, (*reasons, lost), "network.restart", {}
    if entries and fact.active:
        return Change.UPDATE, Impact.LIVE, reasons, "network.update", _delta(desired, live)
    return Change.UPDATE, Impact.LIVE, reasons, "network.define", {}


def _fields(network: Network, desired: xml.Shape, live: xml.Shape) -> Iterator[Reason]:
    for name in ("forward", "bridge", "mtu", "domain", "interface", "dhcp"):
        before, after = getattr(live, name), getattr(desired, name)
        if before != after:
            text = f"{name}: {before or 'none'} -> {after or 'none'}"
            yield Reason(text, name, before, after, network.source)


def _entries(network: Network, desired: xml.Shape, live: xml.Shape) -> tuple[Reason, ...]:
    reasons = []
    for name, word in (("leases", "lease"), ("records", "DNS name")):
        before, after = getattr(live, name), getattr(desired, name)
        reasons += [Reason(f"{word} {each} is to go", name, str(each), "", network.source) for each in before - after]
        reasons += [Reason(f"{word} {each} is missing", name, "", str(each), network.source) for each in after - before]
    return tuple(sorted(reasons, key=lambda reason: reason.text))


def _state(network: Network, fact: NetworkFact) -> Iterator[Reason]:
    if not fact.active:
        yield Reason("it is not active", "active", "inactive", "active", network.source)
    if fact.autostart != network.autostart:
        before, after = str(fact.autostart).lower(), str(network.autostart).lower()
        yield Reason(f"autostart: {before} -> {after}", "autostart", before, after, network.source)


def _delta(desired: xml.Shape, live: xml.Shape) -> dict[str, Any]:
    """Leases and names to delete and to add, as plain data."""
    return {
        "remove": [*_plain(live.leases - desired.leases), *_plain(live.records - desired.records)],
        "add": [*_plain(desired.leases - live.leases), *_plain(desired.records - live.records)],
    }


def _plain(entries: Iterable[xml.Lease | xml.Record]) -> list[dict[str, str]]:
    return sorted((asdict(entry) for entry in entries), key=lambda entry: (entry["name"], entry["ip"]))


def _short(environment: Environment, fact: NetworkFact) -> str:
    """The network's name in the file, or what it was while it was there."""
    names = {each.libvirt_name: each.name for each in environment.networks.values()}
    return names.get(fact.name, fact.name.removeprefix(_prefix(environment)))


def _remove(environment: Environment, host: HostFacts, fact: NetworkFact) -> ResourceChange:
    short = _short(environment, fact)
    name = address.network(short, host.host)
    users = [domain for domain in host.domains.values() if fact.name in xml.attached(domain.xml)]
    strangers = sorted(domain.name for domain in users if not _domain_is_ours(environment, domain))
    if strangers:
        reason = Reason(f"kept: domain {', '.join(strangers)} is in it and is not of this environment")
        return ResourceChange(name, KIND, short, host.host, Change.NONE, reasons=(reason,))
    step = Step(
        id=address.step(name, "remove"),
        action="network.remove",
        resource=name,
        host=host.host,
        step_class=StepClass.CONVERGENT,
        args={"name": fact.name},
        after=tuple(_left_by(environment, host, fact, users)),
        timeout=TIMEOUT,
        label="network",
    )
    source = environment.networks[short].source if short in environment.networks else environment.source
    reasons = () if short in environment.networks else (Reason("no longer in the file", source=source),)
    return ResourceChange(name, KIND, short, host.host, Change.DELETE, reasons=reasons, steps=(step,))


def _left_by(environment: Environment, host: HostFacts, fact: NetworkFact, users: Iterable[Domain]) -> Iterator[str]:
    """Steps after which the VMs in a network are out of it: undefined, or moved to another one.

    A network that takes this one's subnet over waits for the removal, and the VM's move for that network: then only
    an undefine is waited for.
    """
    taken_over = any(
        address.step(address.network(_short(environment, fact), host.host), "remove")
        in _freed_by(environment, each, host)
        for each in environment.networks.values()
        if _makes(each) and host.host in each.hosts
    )
    for user in users:
        for verb in ("undefine",) if taken_over else ("undefine", "change", "define"):
            yield address.step(address.vm(_vm_name(environment, user)), verb)


def _domain_is_ours(environment: Environment, domain: Domain) -> bool:
    if any(vm.domain == domain.name for vm in environment.vms.values()):
        return True
    return domain.name.startswith(_prefix(environment)) and address.METADATA_NS in domain.xml


def _vm_name(environment: Environment, domain: Domain) -> str:
    names = {vm.domain: vm.name for vm in environment.vms.values()}
    return names.get(domain.name, domain.name.removeprefix(_prefix(environment)))
