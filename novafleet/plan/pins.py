"""The CPUs and NUMA nodes of a host that a definition is pinned to. Pure.

Format: https://libvirt.org/formatdomain.html (cputune, numatune), formatcaps.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

PARTS = (("cputune", "vcpupin"), ("cputune", "emulatorpin"), ("cputune", "iothreadpin"))


@dataclass(frozen=True, slots=True)
class Topology:
    """Numbers of a host's CPUs and NUMA nodes; empty when it does not tell."""

    cpus: frozenset[int] = frozenset()
    nodes: frozenset[int] = frozenset()


def topology(capabilities: str) -> Topology:
    """Of libvirt's capabilities."""
    cells = ElementTree.fromstring(capabilities).findall("host/topology/cells/cell")
    cpus = frozenset(int(cpu.get("id", "0")) for cell in cells for cpu in cell.iterfind("cpus/cpu"))
    return Topology(cpus, frozenset(int(cell.get("id", "0")) for cell in cells))


def unmet(domain: Element, host: Topology) -> tuple[str, ...]:
    """In words, the pins that keep it from starting there: without any CPU the host has, or with a node it lacks."""
    return tuple(words for _, _, words in _unmet(domain, host))


def unpin(domain: Element, host: Topology) -> tuple[str, ...]:
    """Take those out, and say which."""
    found = tuple(_unmet(domain, host))
    for parent, child, _ in found:
        if isinstance(child, str):
            del parent.attrib[child]
        else:
            parent.remove(child)
    return tuple(words for _, _, words in found)


def _unmet(domain: Element, host: Topology) -> Iterator[tuple[Element, Element | str, str]]:
    vcpu = domain.find("vcpu")
    if vcpu is not None and _apart(vcpu.get("cpuset", ""), host.cpus):
        yield vcpu, "cpuset", f"CPUs {vcpu.get('cpuset')}"
    for section, tag in PARTS:
        for parent in domain.findall(section):
            for pin in parent.findall(tag):
                if _apart(pin.get("cpuset", ""), host.cpus):
                    yield parent, pin, f"{tag} {pin.get('cpuset')}"
    for parent in domain.findall("numatune"):
        for pin in list(parent):
            if host.nodes and not numbers(pin.get("nodeset", "")) <= host.nodes:
                yield parent, pin, f"NUMA nodes {pin.get('nodeset')}"


def _apart(text: str, there: frozenset[int]) -> bool:
    wanted = numbers(text)
    return bool(wanted and there) and not wanted & there


def numbers(text: str) -> frozenset[int]:
    """libvirt's ``0-3,^2,8``; what makes no sense counts for nothing."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.removeprefix("^").partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            each = range(int(first), int(last or first) + 1)
            found = found - set(each) if part.startswith("^") else found | set(each)
    return frozenset(found)
