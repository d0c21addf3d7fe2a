"""From a host's facts to placement's picture of it: a site, and the guests on it. Loads no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from novafleet.model.facts import Domain, HostFacts
from novafleet.placement.problem import Guest, Site
from novafleet.plan import record

RESERVE = 32
"""One part in so many of a host's memory is its own."""
HOST_MODELS = ("host-passthrough", "host-model", "maximum")


@dataclass(frozen=True, slots=True)
class Picture:
    """One host with its guests; ``stacks`` are containers, which do not move with VMs."""

    site: Site
    guests: tuple[Guest, ...] = ()
    stacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used: CPUs by domain, the share of time tasks wait (PSI), and the CPU's kind."""

    guests: Mapping[str, float] = field(default_factory=dict)
    pressure: float = 0.0
    cpu_class: str = ""


def usage_of(usage: Mapping[str, Any], pressure: Mapping[str, Any]) -> Usage:
    """From the documents of the collectors ``usage`` and ``pressure``: the worst resource over five minutes."""
    waits = [float(pressure.get(name, {}).get("some", {}).get("avg300", 0.0)) for name in ("cpu", "memory", "io")]
    return Usage(dict(usage.get("guests", {})), round(max(waits) / 100.0, 4), str(usage.get("cpu", "")))


def picture(facts: HostFacts, usage: Usage, *, zone: str = "", closed: str = "") -> Picture:
    """What placement needs to know of one host. A definition that cannot be read makes its guest one that stays."""
    guests = tuple(_guest(facts, domain, usage) for domain in facts.domains.values())
    guests = _with_pressure(guests, usage.pressure, facts.cpus)
    promised = sum(guest.memory for guest in guests)
    unpromised = facts.memory_total - facts.memory_total // RESERVE - promised
    networks = [f"network {name}" for name, network in facts.networks.items() if network.active]
    site = Site(
        name=facts.host,
        free=min(unpromised, facts.memory_available),
        cpus=max(1, facts.cpus),
        free_pinned=facts.cpus - sum(guest.pinned for guest in guests),
        pools={name: pool.available for name, pool in facts.pools.items() if pool.active},
        networks=(*networks, *(f"bridge {name}" for name in facts.bridges)),
        cpu_class=usage.cpu_class,
        zone=zone,
        closed=closed,
        taken_at=facts.taken_at,
    )
    return Picture(site, guests, tuple(sorted(facts.stacks)))


def _with_pressure(guests: tuple[Guest, ...], pressure: float, cpus: int) -> tuple[Guest, ...]:
    """Each guest its share of the host's waiting, by the CPU it uses; the rest is the host's own."""
    total = max(float(cpus), sum(guest.cpu for guest in guests), 1.0)
    return tuple(replace(guest, pressure=round(pressure * guest.cpu / total, 6)) for guest in guests)


def _guest(facts: HostFacts, domain: Domain, usage: Usage) -> Guest:
    ours = record.read(domain)
    known = {
        "name": f"{facts.host}/{domain.name}",
        "host": facts.host,
        "domain": domain.name,
        "uuid": domain.uuid,
        "environment": ours.environment if ours else "",
        "vm": ours.name if ours else domain.name,
        "running": domain.state not in ("shutoff", "crashed"),
        "cpu": usage.guests.get(domain.name, 0.0),
    }
    try:
        root = ElementTree.fromstring(domain.xml)
    except ElementTree.ParseError:
        return Guest(**known, stuck="its definition cannot be read")  # type: ignore[arg-type]
    return _defined(known, root, facts, domain, usage)


def _defined(
    known: Mapping[str, Any], root: ElementTree.Element, facts: HostFacts, domain: Domain, usage: Usage
) -> Guest:
    needed = known["running"] or domain.autostart
    cpu = root.find("cpu")
    own = cpu is not None and cpu.get("mode") in HOST_MODELS
    return Guest(
        **known,
        memory=_bytes(root.find("memory")) if needed else 0,
        vcpus=_number(root.findtext("vcpu", "1")),
        pinned=len(root.findall("cputune/vcpupin")) if needed else 0,
        disks=_disks(root, facts),
        networks=_networks(root),
        cpu_class=usage.cpu_class if own else "",
        stuck=_stuck(root),
    )


UNITS = {"": 1024, "KiB": 1024, "k": 1024, "MiB": 2**20, "M": 2**20, "GiB": 2**30, "G": 2**30, "b": 1, "bytes": 1}


def _bytes(node: ElementTree.Element | None) -> int:
    return _number(node.text or "") * UNITS.get(node.get("unit", ""), 1024) if node is not None else 0


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() and len(text.strip()) < 19 else 0


def _disks(root: ElementTree.Element, facts: HostFacts) -> Mapping[str, int]:
    """Bytes on the disk by pool; what lies in no pool counts for none."""
    found: dict[str, int] = {}
    for disk in root.iterfind("devices/disk"):
        source = disk.find("source")
        if source is None or disk.get("device", "disk") != "disk":
            continue
        path = source.get("file", "")
        pool = source.get("pool") or _pool_of(path, facts)
        if path or pool:
            seen = facts.files.get(path)
            found[pool] = found.get(pool, 0) + (seen.allocated if seen else 0)
    return found


def _pool_of(path: str, facts: HostFacts) -> str:
    places = ((pool.path.rstrip("/"), name) for name, pool in facts.pools.items() if pool.active and pool.path)
    return max(((place, name) for place, name in places if path.startswith(f"{place}/")), default=("", ""))[1]


def _networks(root: ElementTree.Element) -> tuple[str, ...]:
    found = set()
    for nic in root.iterfind("devices/interface"):
        source = nic.find("source")
        for kind in ("network", "bridge"):
            if source is not None and nic.get("type") == kind and source.get(kind):
                found.add(f"{kind} {source.get(kind)}")
    return tuple(sorted(found))


def _stuck(root: ElementTree.Element) -> str:
    """The first thing that binds a guest to its host; "" when nothing does."""
    for device in root.iterfind("devices/hostdev"):
        return f"has a device of its host ({device.get('type') or device.get('mode', '')} {_address(device)})".strip()
    for nic in root.iterfind("devices/interface[@type='hostdev']"):
        return f"has a network card of its host ({_address(nic)})"
    for disk in root.iterfind("devices/disk[@type='block']"):
        source = disk.find("source")
        return f"has a block device of its host ({source.get('dev', '') if source is not None else ''})"
    for folder in root.iterfind("devices/filesystem/source"):
        return f"shares a directory of its host ({folder.get('dir') or folder.get('socket', '')})"
    if root.find("devices/tpm/backend[@type='passthrough']") is not None:
        return "has the TPM of its host"
    if root.find("devices/shmem") is not None:
        return "shares memory on its host"
    return ""


def _address(device: ElementTree.Element) -> str:
    source = device.find("source")
    address = source.find("address") if source is not None else None
    if address is None:
        return ""
    words = [address.get(name, "").removeprefix("0x") for name in ("domain", "bus", "slot", "function")]
    if not all(words):
        return " ".join(f"{name}={value}" for name, value in address.attrib.items())
    return f"{words[0]}:{words[1]}:{words[2]}.{words[3]}"
