"""``networks``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Network, NetworkMode
from novafleet.playbook.spec import NetworkSpec, Origins
from novafleet.source.schema import (
    Choice,
    Cidr,
    Either,
    Field,
    Flag,
    Integer,
    Ip,
    OneOrMany,
    Record,
    Text,
)

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*"
LONGEST_PREFIX = 30
"""A gateway and one guest must fit."""
THIS_NETWORK = IPv4Network("0.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses DHCP gives away, both included."""

    start: str
    end: str
    source: Location
    origins: Origins


RANGE = Record(
    "DHCP range",
    "The addresses DHCP gives to guests without an address of their own.",
    (
        Field("start", Ip(), doc="The first address.", example="10.20.0.100"),
        Field("end", Ip(), doc="The last address.", example="10.20.0.199"),
    ),
    into=Range,
)


def _network(source: Location, origins: Origins, **values: Any) -> NetworkSpec:
    mode = NetworkMode(values["mode"])
    _check_mode(mode, values, source, origins)
    dhcp = values.pop("dhcp")
    if values["cidr"]:
        values |= _addresses(mode, values, dhcp, origins)
    fields = {**values, "mode": mode, "dhcp": bool(dhcp)}
    return NetworkSpec(Network(name="", libvirt_name="", source=source, **fields), origins)


def _check_mode(mode: NetworkMode, values: Any, source: Location, origins: Origins) -> None:
    bridged = mode is NetworkMode.BRIDGE
    if bridged and not values["bridge"]:
        raise _wrong("mode bridge needs the name of a bridge the host has", source, "add bridge: br0")
    for key, only in (("bridge", True), ("vlan", True), ("dhcp", False), ("mtu", False), ("domain", False)):
        if values[key] and bridged is not only:
            word = "only" if only else "not"
            raise _wrong(f"{key} goes {word} with mode bridge, this is mode {mode}", origins[key], f"remove {key}")
    if not values["cidr"]:
        if mode in (NetworkMode.NAT, NetworkMode.ROUTED):
            raise _wrong(f"mode {mode} needs a cidr", source, "add cidr: 10.20.0.0/24")
        for key in ("dhcp", "gateway"):
            if values[key]:
                raise _wrong(f"{key} needs a cidr", origins[key], "add cidr: 10.20.0.0/24")


def _addresses(mode: NetworkMode, values: Any, dhcp: Range | bool, origins: Origins) -> dict[str, str]:
    subnet = IPv4Network(values["cidr"])
    if not 8 <= subnet.prefixlen <= LONGEST_PREFIX:
        raise _wrong(f"a subnet of /{subnet.prefixlen} is not between /8 and /{LONGEST_PREFIX}", origins["cidr"])
    if subnet.is_loopback or subnet.is_multicast or subnet.overlaps(THIS_NETWORK):
        raise _wrong(f"no guest can have an address of {subnet}", origins["cidr"], "take one of 10.0.0.0/8")
    written = values["gateway"]
    gateway = written or ("" if mode is NetworkMode.BRIDGE else str(subnet[1]))
    if written and not is_host(subnet, written):
        raise _wrong(f"the gateway {written} is no host address of {subnet}", origins["gateway"])
    start, end = _dhcp_range(subnet, gateway, dhcp)
    if dhcp and IPv4Address(start).packed[:2] != IPv4Address(end).packed[:2]:
        what = f"the DHCP range {start} to {end} is not within one /16, and libvirt serves none that is larger"
        last = IPv4Address(IPv4Address(start).packed[:2] + b"\xff\xff")
        raise _wrong(what, origins["dhcp"], f"write dhcp: {{start: {start}, end: {last}}}")
    return {"gateway": gateway, "dhcp_start": start, "dhcp_end": end}


def _dhcp_range(subnet: IPv4Network, gateway: str, dhcp: Range | bool) -> tuple[str, str]:
    if isinstance(dhcp, Range):
        for key in ("start", "end"):
            if not is_host(subnet, getattr(dhcp, key)):
                raise _wrong(f"the DHCP {key} {getattr(dhcp, key)} is no host address of {subnet}", dhcp.origins[key])
        if IPv4Address(dhcp.start) > IPv4Address(dhcp.end):
            raise _wrong(f"the DHCP range ends before it starts: {dhcp.start} to {dhcp.end}", dhcp.origins["end"])
        if IPv4Address(dhcp.start) <= IPv4Address(gateway) <= IPv4Address(dhcp.end):
            raise _wrong(f"the DHCP range {dhcp.start} to {dhcp.end} contains the gateway {gateway}", dhcp.source)
        return dhcp.start, dhcp.end
    if not dhcp:
        return "", ""
    first, last = (2, -2) if gateway == str(subnet[1]) else (1, -2)
    return (
        (str(subnet[first]), str(subnet[-3]))
        if gateway == str(subnet[last])
        else (str(subnet[first]), str(subnet[last]))
    )


def is_host(subnet: IPv4Network, address: str) -> bool:
    """Is it in the subnet, and neither its network nor its broadcast address?"""
    return IPv4Address(address) in subnet and address not in (str(subnet[0]), str(subnet[-1]))


def _wrong(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-ENV-010", where=where, hints=hints)


NETWORK = Record(
    "network",
    "A network that NICs name. On each host it is needed on it becomes a libvirt network `ENV-NAME`; the same name on "
    "several hosts is several separate segments, except with mode `bridge`.",
    (
        Field(
            "mode",
            Choice(*NetworkMode),
            "nat",
            "`nat`: guests reach out through their host; `routed`: without address translation; `isolated`: only each "
            "other and the host; `bridge`: a bridge the host already has.",
            "nat",
            shown="nat",
        ),
        Field(
            "cidr",
            Cidr(),
            "",
            "The subnet. Needed with `nat` and `routed`, and where a NIC has an `ip`.",
            "10.20.0.0/24",
        ),
        Field(
            "gateway",
            Ip(),
            "",
            "The host's address in it.",
            "10.20.0.1",
            shown="the first address of `cidr`; none with `bridge`",
        ),
        Field(
            "dhcp",
            Either(flag=Flag(), mapping=RANGE),
            False,
            "Serve addresses: `true` for all of `cidr`, or a range, within one /16. VMs with an `ip` get it as a "
            "static lease.",
            "true",
        ),
        Field("domain", Text(DOMAIN, "a DNS domain in lower case"), "", "Its DNS domain.", "lab.test"),
        Field(
            "bridge",
            Text(
                r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", "an interface name of at most 15 letters, digits, '_', '.' and '-'"
            ),
            "",
            "The host's bridge, with mode `bridge`.",
            "br0",
        ),
        Field("mtu", Integer(576, 65535), 0, "Largest packet in bytes.", "1450", shown="the host's"),
        Field(
            "vlan",
            Integer(1, 4094),
            0,
            "VLAN tag of the VMs' ports on a `bridge` that filters VLANs; needs libvirt 11.0 on its hosts.",
            "120",
            shown="untagged",
        ),
        Field("autostart", Flag(), True, "Start with the host.", "true"),
        Field(
            "hosts",
            OneOrMany(Text(empty=False)),
            (),
            "Hosts or inventory groups that get it.",
            "[kvm1, kvm2]",
            shown="the hosts of the VMs attached to it",
        ),
    ),
    into=_network,
)
