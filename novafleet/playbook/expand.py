"""``defaults.vm`` under every VM, and ``count`` into that many VMs, still as nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from novafleet.playbook.merge import defined_twice, over
from novafleet.playbook.variables import Scope, references, substitute, substitute_all
from novafleet.source.node import Node
from novafleet.source.schema import Findings, Integer

COUNT = Integer(1, 500)


@dataclass(frozen=True, slots=True)
class Expanded:
    """The ``vms`` section after expansion; for each VM its name in the file."""

    vms: Node
    bases: Mapping[str, str]


def expand(vms: Node, defaults: Node | None, scope: Scope, findings: Findings) -> Expanded:
    """Every VM with defaults and variables applied. With ``count`` (even 1) ``web`` becomes ``web-1``, ``web-2`` …,
    each seeing its number as ``${index}``."""
    fields: dict[str, Node] = {}
    keys = dict(vms.key_locations)
    bases: dict[str, str] = {}
    for base, written in vms.fields.items():
        node = _with_defaults(written, defaults)
        count = _count(base, node, scope, findings)
        for index in range(1, (count or 1) + 1):
            name = f"{base}-{index}" if count else base
            if name in fields:
                findings.note(defined_twice("vms", name, vms.key_location(base), keys[name]))
                continue
            inner = scope.having(index=index) if count else scope
            filled = substitute_all(node, inner, findings)
            fields[name] = _numbered(filled, node, index - 1) if count else filled
            keys[name] = vms.key_location(base)
            bases[name] = base
    return Expanded(Node(fields, vms.location, keys), bases)


def _with_defaults(vm: Node, defaults: Node | None) -> Node:
    if vm.value is None:
        vm = vm.with_value({})
    if defaults is None or not isinstance(vm.value, Mapping):
        return vm
    chosen = {"host", "place"} & vm.fields.keys()
    if chosen:
        kept = {key: node for key, node in defaults.fields.items() if key not in ("host", "place")}
        defaults = defaults.with_value(kept)
    return over(vm, defaults)


def _numbered(vm: Node, written: Node, offset: int) -> Node:
    """The VM with each ``nics.NAME.ip`` moved on by ``offset``, unless it was written with ``${index}``."""
    nics = vm.fields.get("nics")
    if nics is None or not isinstance(nics.value, Mapping):
        return vm
    before = written.fields["nics"].fields
    moved = {name: _moved(nic, before[name], offset) for name, nic in nics.value.items()}
    return vm.with_value({**vm.fields, "nics": nics.with_value(moved)})


def _moved(nic: Node, written: Node, offset: int) -> Node:
    ip = nic.fields.get("ip")
    if ip is None or not isinstance(ip.value, str) or "index" in references(written.fields["ip"]):
        return nic
    try:
        following = str(IPv4Address(ip.value) + offset)
    except ValueError:  # no address: the schema says so, at the same place
        return nic
    return nic.with_value({**nic.fields, "ip": ip.with_value(following)})


def _count(base: str, vm: Node, scope: Scope, findings: Findings) -> int:
    node = vm.fields.get("count")
    if node is None:
        return 0
    return next(iter(findings.attempt(lambda: COUNT.decode(substitute(node, scope), f"vms.{base}.count"))), 0)
