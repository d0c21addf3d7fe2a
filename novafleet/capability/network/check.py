"""What would go wrong on a host, found before anything is touched. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from novafleet.capability.network import xml
from novafleet.errors import ConfigError, ConfigErrors, GuardError
from novafleet.model.environment import Environment, Network, NetworkMode
from novafleet.model.facts import HostFacts, NetworkFact

VLAN_SINCE = (11, 0)
"""The libvirt that began to set VLAN tags on ports of Linux bridges: https://libvirt.org/news.html#v11-0-0-2025-01-15"""


def check(environment: Environment, host: HostFacts) -> None:
    """Raise GuardError NF-GUARD-003, or ConfigError NF-NET-001 to -003 (ConfigErrors for several)."""
    errors = tuple(error for network in _on(environment, host.host) for error in _errors(environment, network, host))
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]


def _on(environment: Environment, host: str) -> Iterator[Network]:
    return (network for network in environment.networks.values() if host in network.hosts)


def _errors(environment: Environment, network: Network, host: HostFacts) -> Iterator[ConfigError]:
    if network.mode is NetworkMode.BRIDGE:
        if network.bridge not in host.bridges:
            yield _no_bridge(network, host)
        elif network.vlan and _release(host) < VLAN_SINCE:
            yield _no_vlan(network, host)
        return
    fact = host.networks.get(network.libvirt_name)
    if fact is not None and not ours(environment.name, fact):
        raise _foreign(network, host, fact)
    yield from _collisions(environment, network, host)


def ours(environment: str, fact: NetworkFact) -> bool:
    """Did this environment make the network? Its UUID is one only we would give a network of that name."""
    return fact.uuid == xml.network_uuid(environment, fact.name)


def _no_bridge(network: Network, host: HostFacts) -> ConfigError:
    return ConfigError(
        f"network {network.name}: {host.host} has no bridge {network.bridge!r}",
        code="NF-NET-001",
        where=network.source,
        hints=(
            "bridges there: " + (", ".join(host.bridges) or "none"),
            f"make it with the host's own network configuration, or change `bridge:` or `hosts:` of {network.name}",
        ),
    )


def _release(host: HostFacts) -> tuple[int, ...]:
    parts = host.values.get("libvirt_version", "").split(".")
    return tuple(int(part) for part in parts if part.isdecimal())


def _no_vlan(network: Network, host: HostFacts) -> ConfigError:
    return ConfigError(
        f"network {network.name}: libvirt of {host.host} cannot tag VLAN {network.vlan} on a Linux bridge",
        code="NF-NET-003",
        where=network.source,
        cause=f"it is {host.values.get('libvirt_version', 'unknown')}; 11.0 is the first that can",
        hints=(f"make a bridge of that VLAN on {host.host}, name it in `bridge:` and leave `vlan:` out",),
    )


def _foreign(network: Network, host: HostFacts, fact: NetworkFact) -> GuardError:
    return GuardError(
        f"{host.host} has a network {fact.name!r} that NovaFleet did not create",
        code="NF-GUARD-003",
        where=network.source,
        cause=f"its UUID is {fact.uuid}",
        hints=(
            f"rename network {network.name} or the environment, or remove the other one: "
            f"novafleet host exec -l {host.host} -- virsh net-undefine {fact.name}",
        ),
    )


def _collisions(environment: Environment, network: Network, host: HostFacts) -> Iterator[ConfigError]:
    if not network.cidr:
        return
    wanted = IPv4Network(network.cidr, strict=False)
    for owner, subnet, remedy in _occupied(environment, network, host):
        if wanted.overlaps(subnet):
            yield ConfigError(
                f"network {network.name}: {wanted} overlaps {subnet} of {owner} on {host.host}",
                code="NF-NET-002",
                where=network.source,
                hints=(f"give {network.name} another `cidr:`{remedy}",),
            )


_Occupied = tuple[str, IPv4Network, str]


def _occupied(environment: Environment, network: Network, host: HostFacts) -> Iterator[_Occupied]:
    """Subnets that will still be there: not this network's, not those of ours that are to go or change."""
    for fact in host.networks.values():
        if fact.active and not ours(environment.name, fact):
            remedy = f", or stop the other: virsh net-destroy {fact.name}"
            yield from ((f"libvirt network {fact.name!r}", subnet, remedy) for subnet in xml.subnets(fact.xml))
    for other in _on(environment, host.host):
        if other.name < network.name and other.cidr:
            yield f"network {other.name!r}", IPv4Network(other.cidr, strict=False), ""
    bridges = {xml.shape(fact.xml).bridge for fact in host.networks.values() if xml.subnets(fact.xml)}
    for interface, addresses in host.subnets.items():
        if interface not in bridges:
            yield from ((f"interface {interface}", each, "") for each in map(_subnet, addresses) if each)


def _subnet(address: str) -> IPv4Network | None:
    try:
        return IPv4Network(address, strict=False)
    except ValueError:
        return None
