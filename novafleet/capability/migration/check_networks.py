"""Networks, bridges, MTU and leases. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.capability.migration import place
from novafleet.capability.migration.build import Case, leases
from novafleet.capability.migration.findings import blocker, note, warning
from novafleet.capability.migration.guest import GuestNic
from novafleet.model.migration import Finding

ON_A_DEVICE = {"bridge": "bridge", "direct": "interface", "ethernet": "tap"}
"""What a card of this type needs, in words."""
LOCAL = frozenset(("nat", "route", ""))
"""Forward modes of networks that reach no further than their host."""


def _there(case: Case) -> Iterator[Finding]:
    host = case.destination.host
    for nic in _distinct(case):
        name = place.network(nic.source, case.wanted)
        if nic.kind == "network":
            yield from _network(case, nic, name)
        elif nic.kind in ON_A_DEVICE and nic.source and name not in case.destination.devices:
            fix = f"make it there, or use another: --network {nic.source}=NAME"
            yield blocker("NF-MIG-331", f"{host} has no {ON_A_DEVICE[nic.kind]} {name}", fix)


def _distinct(case: Case) -> Iterator[GuestNic]:
    seen = {(nic.kind, nic.source): nic for nic in reversed(case.guest.nics)}
    return reversed(seen.values())


def _network(case: Case, nic: GuestNic, name: str) -> Iterator[Finding]:
    there = case.destination
    fact = there.networks.get(name)
    if fact is None:
        known = ", ".join(sorted(there.networks)) or "none"
        fix = f"define it there, or use another: --network {nic.source}=NAME   # networks there: {known}"
        yield blocker("NF-MIG-330", f"{there.host} has no network {name}", fix)
        return
    if not fact.active:
        yield blocker(
            "NF-MIG-330", f"network {name} is not active on {there.host}", f"virsh net-start {name}   # there"
        )
    root = ElementTree.fromstring(fact.xml)
    forward, bridge = root.find("forward"), _bridge(root)
    mode = forward.get("mode", "nat") if forward is not None else ""
    if mode == "bridge" and bridge and bridge not in there.devices:
        what = f"network {name} on {there.host} is on bridge {bridge}, which is not there"
        yield blocker("NF-MIG-331", what, f"make bridge {bridge} on {there.host}")
    if mode in LOCAL:
        what = f"network {name} ends at its host: connections from outside it break, and port forwards do not follow"
        yield note("NF-MIG-332", what, "a network of mode bridge is the same on both hosts")


def _bridge(root: Element) -> str:
    found = root.find("bridge")
    return found.get("name", "") if found is not None else ""


def _mtu(case: Case) -> Iterator[Finding]:
    for nic in _distinct(case):
        here, there = _mtu_of(case, nic, destination=False), _mtu_of(case, nic, destination=True)
        if here and there and there < here:
            name = place.network(nic.source, case.wanted)
            what = f"{name} has an MTU of {there} on {case.destination.host}, of {here} on {case.source.host}"
            yield warning("NF-MIG-333", what, "give both the same MTU: large packets are lost in silence")


def _mtu_of(case: Case, nic: GuestNic, *, destination: bool) -> int:
    side = case.destination if destination else case.source
    name = place.network(nic.source, case.wanted) if destination else nic.source
    if nic.kind == "network" and name in side.networks:
        name = _bridge(ElementTree.fromstring(side.networks[name].xml))
    return side.devices.get(name, 0)


def _leases(case: Case) -> Iterator[Finding]:
    for name, entries in leases(case).items():
        fact = case.destination.networks.get(place.network(name, case.wanted))
        if fact is None:
            continue
        root = ElementTree.fromstring(fact.xml)
        taken = {host.get("ip", ""): host.get("mac", "").lower() for host in root.iterfind("ip/dhcp/host")}
        subnets = tuple(_subnets(root))
        for entry in (each for each in map(ElementTree.fromstring, entries) if each.get("ip")):
            ip, mac = entry.get("ip", ""), entry.get("mac", "").lower()
            if taken.get(ip, mac) != mac:
                what = f"{ip} is reserved for {taken[ip]} on {case.destination.host}, and for this VM here"
                yield warning("NF-MIG-334", what, "give one of them another address")
            elif subnets and not any(_within(ip, subnet) for subnet in subnets):
                what = f"its address {ip} is not of network {fact.name} on {case.destination.host}"
                yield warning("NF-MIG-334", what, "use the same subnet on both hosts, or renew its lease afterwards")


def _subnets(root: Element) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for ip in root.iterfind("ip[@address]"):
        mask = ip.get("netmask") or ip.get("prefix") or "24"
        yield ipaddress.ip_network(f"{ip.get('address', '')}/{mask}", strict=False)


def _within(ip: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return ipaddress.ip_address(ip) in subnet


NETWORK_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (_there, _mtu, _leases)
