"""``vm ls``: one round trip a host, no libvirt connection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from novafleet.app.wiring import open_world
from novafleet.execute.gather import gather
from novafleet.inventory import select
from novafleet.model.address import METADATA_NS
from novafleet.observe.registry import collectors

if TYPE_CHECKING:
    from novafleet.model.facts import Domain


@dataclass(frozen=True, slots=True)
class VmRow:
    """One domain; ``memory`` in bytes, ``environment`` empty for a domain NovaFleet did not make. ``state`` and
    ``reason`` as in ``Domain``."""

    name: str
    host: str
    state: str
    vcpus: int
    memory: int
    environment: str
    uuid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """VMs found, and hosts that did not answer with the reason."""

    vms: tuple[VmRow, ...]
    unreachable: Mapping[str, str]


async def ls(inventory: Sequence[Path], limit: str = "") -> Listing:
    """All domains of the selected hosts, by host and name."""
    async with open_world(inventory) as world:
        hosts = select(world.fleet, "all", limit)
        facts = await gather(world.sessions, hosts, collectors(("libvirt",)), world.clock)
    rows = tuple(row(each.host, domain) for each in facts.hosts.values() for domain in each.domains.values())
    unreachable = {each.host: each.error for each in facts.hosts.values() if each.error}
    return Listing(tuple(sorted(rows, key=lambda vm: (vm.host, vm.name))), unreachable)


def row(host: str, domain: Domain) -> VmRow:
    """What the list shows of a domain."""
    root = ElementTree.fromstring(domain.xml)
    record = root.find(f"metadata/{{{METADATA_NS}}}resource")
    return VmRow(
        name=domain.name,
        host=host,
        state=domain.state,
        vcpus=_number(root.findtext("vcpu", "1")),
        memory=_number(root.findtext("memory", "")) * 1024,  # libvirt always says KiB
        environment="" if record is None else record.get("environment", ""),
        uuid=domain.uuid,
        reason=domain.reason,
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
