"""The definition of a libvirt network, as a tree, and what of a definition NovaFleet cares about. Pure.

libvirt adds to what it was given (STP, NAT port ranges, defaults); ``shape`` reads only what ``definition`` wrote, so
that its additions are not a difference. Format: https://libvirt.org/formatnetwork.html.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.model import address
from novafleet.model.environment import LeaseEntry, Network, NetworkMode

ElementTree.register_namespace(address.METADATA_KEY, address.METADATA_NS)

_FORWARD = {NetworkMode.NAT: "nat", NetworkMode.ROUTED: "route", NetworkMode.ISOLATED: ""}


@dataclass(frozen=True, slots=True)
class Lease:
    """A static DHCP lease."""

    mac: str
    ip: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.ip} {self.mac}".lstrip()


@dataclass(frozen=True, slots=True)
class Record:
    """A name served by the network's own DNS."""

    ip: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.ip}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a network matters. ``forward`` is nat | route | "" (isolated); ``interface`` like ``10.20.0.1/24``."""

    uuid: str
    forward: str
    bridge: str
    mtu: str
    domain: str
    interface: str
    dhcp: str
    leases: frozenset[Lease]
    records: frozenset[Record]


def network_uuid(environment: str, libvirt_name: str) -> str:
    """The UUID every controller gives this network: how we know ours (name and UUID both)."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{address.METADATA_NS}/{environment}/network/{libvirt_name}"))


def bridge_name(environment: str, libvirt_name: str) -> str:
    """``nf`` and 8 hexadecimal digits: fits the kernel's 15 characters, and two runs cannot race for ``virbrN``."""
    return "nf" + _hash(environment, libvirt_name)[:8]


def _bridge_mac(environment: str, libvirt_name: str) -> str:
    """The same on every host: a guest that moves finds its gateway where it was."""
    digits = _hash(environment, libvirt_name)
    return ":".join(("52", "54", "00", digits[0:2], digits[2:4], digits[4:6]))


def _hash(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def definition(environment: str, network: Network, host: str) -> str:
    """The XML of a network as it should be on one host, with that host's leases and names."""
    root = Element("network")
    SubElement(root, "name").text = network.libvirt_name
    SubElement(root, "uuid").text = network_uuid(environment, network.libvirt_name)
    root.append(_metadata(environment, network, host))
    if forward := _FORWARD[network.mode]:
        SubElement(root, "forward", mode=forward)
    SubElement(root, "bridge", name=bridge_name(environment, network.libvirt_name), stp="off", delay="0")
    if network.mtu:
        SubElement(root, "mtu", size=str(network.mtu))
    SubElement(root, "mac", address=_bridge_mac(environment, network.libvirt_name))
    if network.domain:
        SubElement(root, "domain", name=network.domain, localOnly="yes")
    leases = _leases(network, host)
    if leases and network.cidr:  # without an address of its own a network serves no DNS
        SubElement(root, "dns").extend(record(Record(lease.ip, lease.name)) for lease in leases)
    if network.cidr:
        root.append(_ip(network, leases))
    return ElementTree.tostring(root, encoding="unicode")


def _leases(network: Network, host: str) -> list[Lease]:
    entries: Iterable[LeaseEntry] = network.leases.get(host, ())
    leases = (Lease(entry.mac.lower(), entry.ip, entry.name) for entry in entries if entry.ip)
    return sorted(leases, key=lambda lease: (lease.name, lease.ip))


def _ip(network: Network, leases: list[Lease]) -> Element:
    subnet = IPv4Network(network.cidr, strict=False)
    gateway = network.gateway or str(subnet[1])
    ip = Element("ip", address=gateway, netmask=str(subnet.netmask))
    if network.dhcp:
        dhcp = SubElement(ip, "dhcp")
        start, end = network.dhcp_start or str(subnet[2]), network.dhcp_end or str(subnet[-2])
        SubElement(dhcp, "range", start=start, end=end)
        dhcp.extend(lease(each) for each in _named_once(leases))
    return ip


def _named_once(leases: list[Lease]) -> Iterator[Lease]:
    """A VM with two NICs here: to a running network libvirt adds no second lease of one name."""
    names = [each.name for each in leases]
    return (each if names.index(each.name) == index else replace(each, name="") for index, each in enumerate(leases))


def lease(entry: Lease) -> Element:
    """``<host mac= name= ip=/>``, as in ``<dhcp>`` and for ``virNetworkUpdate``."""
    named = {"name": entry.name} if entry.name else {}
    return Element("host", {"mac": entry.mac, **named, "ip": entry.ip})


def record(entry: Record) -> Element:
    """``<host ip=><hostname>…</hostname></host>``, as in ``<dns>`` and for ``virNetworkUpdate``."""
    host = Element("host", ip=entry.ip)
    SubElement(host, "hostname").text = entry.name
    return host


def _metadata(environment: str, network: Network, host: str) -> Element:
    applied = json.dumps(_specification(network, host), sort_keys=True)
    metadata = Element("metadata")
    resource = SubElement(
        metadata,
        f"{{{address.METADATA_NS}}}resource",
        environment=environment,
        address=address.network(network.name, host),
        digest=hashlib.sha256(applied.encode()).hexdigest(),
    )
    SubElement(resource, f"{{{address.METADATA_NS}}}applied").text = applied
    return metadata


def _specification(network: Network, host: str) -> dict[str, object]:
    fields = ("cidr", "gateway", "dhcp", "dhcp_start", "dhcp_end", "domain", "mtu", "autostart")
    leases = [str(each) for each in _leases(network, host)]
    return {"mode": str(network.mode), "leases": leases, **{name: getattr(network, name) for name in fields}}


def shape(xml: str) -> Shape:
    """What matters of a definition, ours or libvirt's. Raises ElementTree.ParseError."""
    root = ElementTree.fromstring(xml)
    ip = root.find("ip")
    return Shape(
        uuid=root.findtext("uuid", "").strip().lower(),
        forward=_attribute(root.find("forward"), "mode"),
        bridge=_attribute(root.find("bridge"), "name"),
        mtu=_attribute(root.find("mtu"), "size"),
        domain=_attribute(root.find("domain"), "name"),
        interface=_interface(ip),
        dhcp=_range(root.find("ip/dhcp/range")),
        leases=frozenset(
            Lease(each.get("mac", "").lower(), each.get("ip", ""), each.get("name", ""))
            for each in root.iterfind("ip/dhcp/host")
        ),
        records=frozenset(
            Record(each.get("ip", ""), (hostname.text or "").strip())
            for each in root.iterfind("dns/host")
            for hostname in each.iterfind("hostname")
        ),
    )


def _attribute(element: Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def _range(element: Element | None) -> str:
    return "" if element is None else f"{element.get('start')}-{element.get('end')}"


def _interface(ip: Element | None) -> str:
    if ip is None or ip.get("family") == "ipv6":
        return ""
    return str(IPv4Interface(f"{ip.get('address')}/{ip.get('netmask') or ip.get('prefix') or 32}"))


def subnets(xml: str) -> tuple[IPv4Network, ...]:
    """The IPv4 subnets a network's bridge is in, whoever made it."""
    found = (_interface(ip) for ip in ElementTree.fromstring(xml).iterfind("ip"))
    return tuple(IPv4Interface(each).network for each in found if each)


def attached(domain_xml: str) -> frozenset[str]:
    """Names of the libvirt networks a domain's cards are in."""
    sources = ElementTree.fromstring(domain_xml).iterfind("devices/interface/source")
    return frozenset(name for source in sources if (name := source.get("network", "")))
