"""Documents and variable files become the fleet, each value with every place that set it.

What wins is Ansible's order (its ``VariableManager``): what inventory files say of ``all``, then of groups; then
``group_vars/all``, then ``group_vars`` of groups; then what inventory files say of the host, then ``host_vars``.
Groups go by depth, ``ansible_group_priority`` and name, the later winning; of several files the later one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory import connection, graph, jump
from novafleet.inventory.connection import Chain
from novafleet.inventory.graph import ALL, GroupGraph
from novafleet.inventory.layer import HostEntry, Settings
from novafleet.inventory.sources import Sources
from novafleet.model.fleet import Fleet, Group, Host, Notice
from novafleet.model.secret import Secret
from novafleet.source.node import Vaulted
from novafleet.source.schema import Findings
from novafleet.source.suggest import nearest

Chains = dict[str, Chain]

_PRIORITY = "vars.ansible_group_priority"
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")
_SECRETS = frozenset(
    f"vars.ansible_{name}"
    for name in ("password", "ssh_pass", "ssh_password", "become_password", "become_pass", "sudo_pass")
)


def merge(sources: Sources) -> Fleet:
    """The fleet. Raises ConfigError (NF-INV-004 to -012, -018), or all that was found as ConfigErrors."""
    findings = Findings()
    findings.errors.extend(error for document in sources.documents for error in document.errors)
    declared = _declared(sources)
    groups = graph.build(sources.documents, declared, findings)
    merger = _Merger(sources, groups, declared, findings)
    merger.notices.extend(graph.same_names(sources.documents, groups, findings))
    hosts = {name: host for name in declared for host in merger.hosts(name)}
    _check_jumps(hosts, findings)
    if not findings.errors and not hosts:
        findings.note(_empty(sources, merger.notices))
    findings.errors[:] = {(error.code, str(error.where)): error for error in reversed(findings.errors)}.values()
    findings.errors.sort(key=_place)
    findings.check()
    merger.notices.extend(_strangers(sources, groups, declared))
    return Fleet(hosts, _groups(groups, tuple(hosts)), tuple(dict.fromkeys((*sources.notices, *merger.notices))))


def _place(error: ConfigError) -> tuple[str, int, int]:
    where = error.where
    return (where.file, where.line, where.column) if isinstance(where, Location) else (where, 0, 0)


def _declared(sources: Sources) -> dict[str, list[HostEntry]]:
    declared: dict[str, list[HostEntry]] = {}
    for document in sources.documents:
        for entry in document.hosts:
            declared.setdefault(entry.name, []).append(entry)
    return declared


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all hosts of the same groups have in common, made once: ten thousand hosts have few such sets."""

    chains: Chains
    places: Mapping[str, tuple[Location, ...]]
    values: Mapping[str, tuple[Any, ...]]
    variables: Mapping[str, Any]

    @classmethod
    def of(cls, chains: Chains) -> _Shared:
        """Takes the chains apart."""
        return cls(chains, _places(chains), _values(chains), _winners(chains, "vars."))


class _Merger:
    """Builds hosts; what hosts of the same groups share is merged once."""

    def __init__(
        self,
        sources: Sources,
        groups: GroupGraph,
        declared: Mapping[str, Sequence[HostEntry]],
        findings: Findings,
    ) -> None:
        self.notices = [notice for document in sources.documents for notice in document.notices]
        self._findings = findings
        self._graph = groups
        self._declared = declared
        self._inline: dict[str, list[Settings]] = {}
        self._files: dict[tuple[bool, str], list[Settings]] = {}
        for document in sources.documents:
            for entry in document.groups:
                if entry.settings:
                    self._inline.setdefault(entry.name, []).append(entry.settings)
        for file in sources.variables:
            self._files.setdefault((file.host, file.name), []).append(file.settings)
        self._shared = cache(self._from_groups)

    def hosts(self, name: str) -> Iterable[Host]:
        """The host, unless it is wrong (noted) or not reached over SSH (a notice)."""
        ancestors = self._graph.with_ancestors(self._graph.groups_of[name])
        shared = self._shared(ancestors)
        found = dict(shared.chains)
        for entry in self._declared[name]:
            _put(found, entry.settings)
        for settings in self._files.get((True, name), ()):
            _put(found, settings)
        left_out = connection.not_over_ssh(self._declared[name][0], found)
        if left_out:
            self.notices.append(left_out)
            return ()
        return self._findings.attempt(lambda: self._host(name, found, shared, ancestors))

    def _from_groups(self, ancestors: frozenset[str]) -> _Shared:
        found: Chains = {}
        order = sorted(ancestors, key=self._rank)
        for name in (ALL, *order):
            for settings in self._inline.get(name, ()):
                _put(found, {key: setting for key, setting in settings.items() if key != _PRIORITY})
        for name in (ALL, *order):
            for settings in self._files.get((False, name), ()):
                _put(found, settings)
        return _Shared.of(found)

    def _rank(self, group: str) -> tuple[int, int, str]:
        priority = 1
        for settings in self._inline.get(group, ()):
            setting = settings.get(_PRIORITY)
            text = str(setting.value) if setting else ""
            priority = int(text) if _NUMBER.fullmatch(text) else priority
        return self._graph.depth[group], priority, group

    def _host(self, name: str, found: Chains, shared: _Shared, ancestors: Collection[str]) -> Host:
        chains, notices = connection.chains(self._declared[name][0], found)
        self.notices.extend(notices)
        own = {key: chain for key, chain in found.items() if chain is not shared.chains.get(key)}
        own.update(chains)
        values = {"address": name, **connection.values(name, found, chains)}
        return Host(
            name=name,
            **values,
            labels=_winners(found, "labels."),
            groups=tuple(sorted(ancestors)),
            vars=_known({**shared.variables, **_winners(own, "vars.")}),
            source=self._declared[name][0].source,
            origins={**shared.places, **_places(own)},
            history={**shared.values, **_values(own)},
        )


def _places(chains: Mapping[str, Chain]) -> dict[str, tuple[Location, ...]]:
    return {key: tuple(setting.source for setting in chain) for key, chain in chains.items()}


def _values(chains: Mapping[str, Chain]) -> dict[str, tuple[Any, ...]]:
    return {key: tuple(_shown(key, setting.value) for setting in chain) for key, chain in chains.items()}


def _winners(chains: Mapping[str, Chain], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: _shown(key, chain[-1].value) for key, chain in chains.items() if key.startswith(prefix)}


def _known(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if not isinstance(value, Vaulted)}


def _put(found: Chains, settings: Settings) -> None:
    for key, setting in settings.items():
        found[key] = (*found.get(key, ()), setting)


def _shown(key: str, value: Any) -> Any:
    return Secret.of(str(value)) if key in _SECRETS and not isinstance(value, Vaulted) else value


def _check_jumps(hosts: Mapping[str, Host], findings: Findings) -> None:
    places = {name: host.origins["jump"][-1] for name, host in hosts.items() if host.jump}
    for name, where in places.items():
        host = hosts[name]
        own = isinstance(host.history["jump"][-1], tuple)
        for hop in host.jump:
            findings.attempt(lambda h=hop, o=own, w=where: jump.check_hop(h, hosts, own=o, where=w))  # type: ignore[misc]
    findings.errors.extend(jump.check_cycles({name: host.jump for name, host in hosts.items()}, places))


def _groups(groups: GroupGraph, hosts: Sequence[str]) -> dict[str, Group]:
    inside = graph.members(groups, hosts)
    return {
        name: Group(name, inside[name], tuple(node.children), node.source)
        for name, node in sorted(groups.nodes.items(), key=lambda item: (groups.depth[item[0]], item[0]))
    }


def _strangers(sources: Sources, groups: GroupGraph, declared: Collection[str]) -> Iterable[Notice]:
    """Variable files whose host or group is nobody's, but nearly somebody's: other inventories may share the folder."""
    for file in sources.variables:
        known: Collection[str] = declared if file.host else groups.nodes
        near = "" if file.name in known else nearest(file.name, known)
        if near:
            kind = "host" if file.host else "group"
            yield Notice(f"not used: there is no {kind} {file.name!r}, did you mean {near!r}?", file.source)


def _empty(sources: Sources, notices: Sequence[Notice]) -> ConfigError:
    return ConfigError(
        "the inventory has no hosts",
        code="NF-INV-018",
        where=", ".join(sources.paths),
        cause="; ".join(notice.text for notice in (*sources.notices, *notices)[:3]),
        hints=("add one: hosts: {kvm1: {address: 10.0.0.11}}",),
    )
