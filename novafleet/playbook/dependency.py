"""``depends_on``: from names to addresses, and a refusal of cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from novafleet.errors import ConfigError
from novafleet.model import address
from novafleet.model.environment import Condition, Dependency, Gate
from novafleet.playbook.spec import Sheet, Wanted
from novafleet.source.schema import Findings
from novafleet.source.suggest import did_you_mean

Graph = Mapping[str, tuple[Dependency, ...]]


def dependencies(sheet: Sheet, findings: Findings) -> Graph:
    """For each VM and stack, by address, what it depends on; a name with ``count`` stands for each of its VMs.

    Notes NF-ENV-001 (unknown), NF-ENV-002 (cycle) and NF-ENV-003 (a condition that can never be met).
    """
    graph = {target: tuple(_each(sheet, wanted, findings)) for target, wanted in _wanted(sheet).items()}
    cycle = find_cycle(graph)
    if cycle:
        findings.note(_cyclic(graph, cycle))
    return graph


def _wanted(sheet: Sheet) -> Mapping[str, tuple[Wanted, ...]]:
    vms = {address.vm(name): spec.depends_on for name, spec in sheet.vms.items()}
    return vms | {address.stack(name): spec.depends_on for name, spec in sheet.stacks.items()}


def _each(sheet: Sheet, wanted: tuple[Wanted, ...], findings: Findings) -> Iterator[Dependency]:
    seen: set[str] = set()
    for each in wanted:
        for targets in findings.attempt(lambda w=each: _targets(sheet, w)):  # type: ignore[misc]
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    yield from findings.attempt(lambda t=target, w=each: _dependency(sheet, t, w))  # type: ignore[misc]


def _targets(sheet: Sheet, wanted: Wanted) -> tuple[str, ...]:
    kind, dot, rest = wanted.name.partition(".")
    name = rest if dot else wanted.name
    vms = [address.vm(vm) for vm, base in sheet.bases.items() if name in (vm, base)] if kind == "vm" or not dot else []
    named = name in sheet.declared["stacks"] and (kind == "stack" or not dot)
    stacks = [address.stack(name)] if named else []
    if vms and stacks:
        raise ConfigError(
            f"{name!r} is a VM and a stack",
            code="NF-ENV-001",
            where=wanted.source,
            hints=(f"write vm.{name} or stack.{name}",),
        )
    if not vms and not stacks:
        known = {*sheet.bases, *sheet.bases.values(), *sheet.declared["stacks"]}
        raise ConfigError(
            f"there is no VM or stack {wanted.name!r} to depend on",
            code="NF-ENV-001",
            where=wanted.source,
            hints=did_you_mean(name, known, "VMs and stacks"),
        )
    return (*vms, *stacks)


def _dependency(sheet: Sheet, target: str, wanted: Wanted) -> Dependency:
    gates = _gates(sheet, target)
    if wanted.condition == Condition.HEALTHY and not gates and gates is not None:
        raise ConfigError(
            f"{target} has no `ready`, so it can never be seen to be healthy",
            code="NF-ENV-003",
            where=wanted.source,
            hints=(f"add `ready` to {wanted.name}", "or write condition: service_started"),
        )
    short = Condition.HEALTHY if gates else Condition.STARTED
    return Dependency(target, Condition(wanted.condition) if wanted.condition else short, wanted.source)


def _gates(sheet: Sheet, target: str) -> tuple[Gate, ...] | None:
    """A target's gates; None when its entry could not be decoded."""
    kind, _, name = target.partition(".")
    if kind == "vm":
        return sheet.vms[name].vm.ready if name in sheet.vms else None
    return sheet.stacks[name].ready if name in sheet.stacks else None


def find_cycle(graph: Graph) -> tuple[str, ...]:
    """The members of the first cycle in file order, the first not repeated at the end; empty when there is none."""
    try:
        TopologicalSorter({node: [edge.target for edge in edges] for node, edges in graph.items()}).prepare()
    except CycleError as error:
        members: list[str] = error.args[1][:0:-1]
        first = min(range(len(members)), key=lambda index: list(graph).index(members[index]))
        return (*members[first:], *members[:first])
    return ()


def _cyclic(graph: Graph, cycle: tuple[str, ...]) -> ConfigError:
    edges = [
        next(edge for edge in graph[node] if edge.target == after)
        for node, after in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
    ]
    shown = "".join(f"{node} (line {edge.source.line}) -> " for node, edge in zip(cycle, edges, strict=True))
    what = f"{cycle[0]} waits for itself" if len(cycle) == 1 else f"{', '.join(cycle)} wait for each other"
    return ConfigError(
        what,
        code="NF-ENV-002",
        where=edges[0].source,
        cause=shown + cycle[0],
        hints=("remove one of these depends_on",),
    )
