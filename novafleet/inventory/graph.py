"""The groups as a graph: who is in whom, how deep, and whether it all hangs together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from novafleet.errors import ConfigError, Location
from novafleet.inventory.layer import Document, GroupEntry, Mention
from novafleet.model.fleet import Notice
from novafleet.source.schema import Findings
from novafleet.source.suggest import did_you_mean

ALL = "all"
UNGROUPED = "ungrouped"


@dataclass(slots=True)
class GroupNode:
    """One group: what is directly in it, with the place that says so."""

    name: str
    source: Location
    hosts: dict[str, Location] = field(default_factory=dict)
    children: dict[str, Location] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupGraph:
    """``depth`` counts from ``all`` at 0, along the longest way, as Ansible does."""

    nodes: Mapping[str, GroupNode]
    depth: Mapping[str, int]
    parents: Mapping[str, tuple[str, ...]]
    groups_of: Mapping[str, tuple[str, ...]]
    """The groups a host is directly in; ``ungrouped`` when that is none."""

    def with_ancestors(self, groups: Iterable[str]) -> frozenset[str]:
        """These groups and all they are in, ``all`` excepted."""
        found: set[str] = set()
        waiting = [group for group in groups if group != ALL]
        while waiting:
            group = waiting.pop()
            if group not in found:
                found.add(group)
                waiting.extend(parent for parent in self.parents[group] if parent != ALL)
        return frozenset(found)


def build(documents: Sequence[Document], hosts: Collection[str], findings: Findings) -> GroupGraph:
    """The graph of all documents. Unknown names (NF-INV-006) and circles (NF-INV-008) are noted and left out."""
    nodes = _nodes(documents)
    _check_mentions(documents, nodes, hosts, findings)
    parents = _parents(nodes)
    order = _order(nodes, parents, findings)
    depth = {ALL: 0, UNGROUPED: 1}
    for name in order:
        depth[name] = 0 if name == ALL else 1 + max((depth[parent] for parent in parents[name]), default=0)
    groups_of: dict[str, tuple[str, ...]] = dict.fromkeys(hosts, ())
    for node in nodes.values():
        if node.name not in (ALL, UNGROUPED):
            for host in node.hosts:
                groups_of[host] = (*groups_of[host], node.name)
    alone = {host: groups or (UNGROUPED,) for host, groups in groups_of.items()}
    nodes[UNGROUPED].hosts = {host: nodes[UNGROUPED].source for host, groups in alone.items() if groups == (UNGROUPED,)}
    return GroupGraph(nodes, depth, {name: tuple(found) for name, found in parents.items()}, alone)


def _nodes(documents: Sequence[Document]) -> dict[str, GroupNode]:
    nothing = Location("")
    nodes = {ALL: GroupNode(ALL, nothing), UNGROUPED: GroupNode(UNGROUPED, nothing)}
    for entry in _entries(documents):
        node = nodes.get(entry.name)
        if node is None and entry.declares:
            node = nodes[entry.name] = GroupNode(entry.name, entry.source)
        if node is not None:
            node.source = node.source if node.source.file else entry.source
            node.hosts.update({mention.name: mention.source for mention in entry.hosts})
            node.children.update({mention.name: mention.source for mention in entry.children})
    return nodes


def _entries(documents: Sequence[Document]) -> Iterable[GroupEntry]:
    return (entry for document in documents for entry in document.groups)


def _check_mentions(
    documents: Sequence[Document], nodes: Mapping[str, GroupNode], hosts: Collection[str], findings: Findings
) -> None:
    unknown = {entry.name: entry for entry in reversed([*_entries(documents)]) if entry.name not in nodes}
    for name, entry in unknown.items():
        findings.note(_unknown("group", Mention(name, entry.source), nodes, f"add [{name}]"))
    for node in nodes.values():
        for name, where in [*node.hosts.items()]:
            if name not in hosts:
                findings.note(_unknown("host", Mention(name, where), hosts, f"add it: hosts: {{{name}: {{}}}}"))
                del node.hosts[name]
        for name, where in [*node.children.items()]:
            if name not in nodes:
                findings.note(_unknown("group", Mention(name, where), nodes, f"add the group {name}"))
                del node.children[name]
            elif name == ALL:
                findings.note(_circle((node.name, ALL), where))
                del node.children[name]


def _unknown(what: str, mention: Mention, known: Collection[str], otherwise: str) -> ConfigError:
    return ConfigError(
        f"the {what} {mention.name!r} is not in the inventory",
        code="NF-INV-006",
        where=mention.source,
        hints=(*did_you_mean(mention.name, known, f"{what}s"), otherwise),
    )


def _parents(nodes: Mapping[str, GroupNode]) -> dict[str, dict[str, Location]]:
    parents: dict[str, dict[str, Location]] = {name: {} for name in nodes}
    for node in nodes.values():
        for child, where in node.children.items():
            parents[child][node.name] = where
    return parents


def _order(
    nodes: Mapping[str, GroupNode], parents: dict[str, dict[str, Location]], findings: Findings
) -> tuple[str, ...]:
    """Parents before children; each circle is noted and cut."""
    while True:
        try:
            return tuple(TopologicalSorter(parents).static_order())
        except CycleError as exc:
            circle: list[str] = exc.args[1]
            parent, child = circle[0], circle[1]
            where = parents[child].pop(parent)
            del nodes[parent].children[child]
            findings.note(_circle(circle, where))


def _circle(circle: Sequence[str], where: Location) -> ConfigError:
    return ConfigError(
        f"groups go in a circle: {' > '.join(circle if circle[-1] != ALL else (ALL, *circle))}",
        code="NF-INV-008",
        where=where,
        hints=(f"take {circle[1]} out of the children of {circle[0]}",),
    )


def same_names(documents: Sequence[Document], graph: GroupGraph, findings: Findings) -> tuple[Notice, ...]:
    """A host named like a group: an error in our files (NF-INV-007), in Ansible's a notice; the group is meant."""
    notices: list[Notice] = []
    for document in documents:
        for entry in document.hosts:
            if entry.name not in graph.nodes:
                continue
            what = f"{entry.name!r} is both a host and a group"
            if document.own:
                hint = "give one of them another name"
                findings.note(ConfigError(what, code="NF-INV-007", where=entry.source, hints=(hint,)))
            else:
                notices.append(Notice(f"{what}: patterns mean the group", entry.source))
    return tuple(notices)


def members(graph: GroupGraph, hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The hosts of every group: its own in their order there, then those of its children; of ``all`` as declared."""
    kept = frozenset(hosts)
    found = {name: tuple(host for host in _inside(graph, name) if host in kept) for name in graph.nodes}
    return {**found, ALL: tuple(hosts)}


def _inside(graph: GroupGraph, group: str) -> Iterable[str]:
    """Breadth first, as Ansible does: its ``web[0]`` is ours."""
    below = {group: None}
    level = [group]
    while level:
        level = [child for name in level for child in graph.nodes[name].children if child not in below]
        below.update(dict.fromkeys(level))
    return dict.fromkeys(host for name in below for host in graph.nodes[name].hosts)
