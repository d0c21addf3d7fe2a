"""IP and MAC addresses of an environment: each in its subnet, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Environment, LeaseEntry, Network, NetworkMode, Nic, Vm
from novafleet.playbook.identity import mac
from novafleet.playbook.schema.network import is_host
from novafleet.playbook.spec import Sheet


def with_macs(environment: str, vm: Vm) -> Mapping[str, Nic]:
    """The NICs of a VM by name, each with its name and MAC address."""
    return {
        name: replace(nic, name=name, mac=nic.mac or mac(environment, vm.name, name)) for name, nic in vm.nics.items()
    }


def check_addresses(sheet: Sheet) -> Iterator[ConfigError]:
    """NF-ENV-011 for an address its network cannot have, NF-ENV-012 for one that is used twice."""
    used: dict[tuple[str, str], tuple[str, Location]] = {}
    for name, spec in sheet.vms.items():
        for nic in with_macs(sheet.name, spec.vm).values():
            where = spec.vm.origins.get(f"nics.{nic.name}.ip", nic.source)
            owner = f"NIC {nic.name} of {name}"
            if nic.ip:
                yield from _check_ip(sheet, nic, where)
                yield from _once(used, (f"network {nic.network}", nic.ip), owner, where)
            place = spec.vm.origins.get(f"nics.{nic.name}.mac", nic.source)
            yield from _once(used, ("this environment", nic.mac), owner, place)


def _once(
    used: dict[tuple[str, str], tuple[str, Location]], key: tuple[str, str], owner: str, where: Location
) -> Iterator[ConfigError]:
    other, first = used.setdefault(key, (owner, where))
    if other == owner:
        return
    whose = f"already belongs to {other} ({first})"
    yield ConfigError(
        f"{key[1]} {whose} in {key[0]}", code="NF-ENV-012", where=where, hints=("give one another address",)
    )


def _check_ip(sheet: Sheet, nic: Nic, where: Location) -> Iterator[ConfigError]:
    spec = sheet.networks.get(nic.network)
    if spec is None:
        return
    network = spec.network
    if not network.cidr:
        what, hint = f"network {network.name} has no cidr, so {nic.ip} cannot be in it", "add cidr to the network"
    elif not is_host(IPv4Network(network.cidr), nic.ip):
        what, hint = f"{nic.ip} is no host address of network {network.name}", f"take one of {network.cidr}"
    elif nic.ip == network.gateway:
        what, hint = f"{nic.ip} is the gateway of network {network.name}", "take another address"
    else:
        return
    yield ConfigError(what, code="NF-ENV-011", where=where, hints=(hint,))


def leases(network: Network, vms: Mapping[str, Vm]) -> Mapping[str, tuple[LeaseEntry, ...]]:
    """Per host the static leases and names of the VMs there that have an address in the network."""
    found: dict[str, list[LeaseEntry]] = {}
    for vm in vms.values():
        for nic in vm.nics.values():
            if nic.network == network.name and nic.ip:
                found.setdefault(vm.host, []).append(LeaseEntry(nic.mac, nic.ip, vm.name))
    return {host: tuple(sorted(entries, key=lambda entry: entry.name)) for host, entries in sorted(found.items())}


def check_overlaps(environment: Environment) -> Iterator[ConfigError]:
    """NF-ENV-013 for two networks of one host whose subnets overlap."""
    networks = [network for network in environment.networks.values() if network.cidr]
    for index, second in enumerate(networks):
        for first in networks[:index]:
            shared = sorted(set(first.hosts) & set(second.hosts))
            if shared and IPv4Network(first.cidr).overlaps(IPv4Network(second.cidr)) and not _one_lan(first, second):
                what = f"network {second.name} ({second.cidr}) overlaps {first.name} ({first.cidr}) on {shared[0]}"
                yield ConfigError(
                    what,
                    code="NF-ENV-013",
                    where=second.source,
                    cause=f"{first.name} is defined at {first.source}",
                    hints=("give one of them another cidr",),
                )


def _one_lan(first: Network, second: Network) -> bool:
    """Two names for bridges may well mean one subnet."""
    return first.mode is second.mode is NetworkMode.BRIDGE
