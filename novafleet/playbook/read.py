"""From the path of an environment file to its decoded entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from novafleet.errors import ConfigError
from novafleet.playbook.expand import Expanded, expand
from novafleet.playbook.include import Document
from novafleet.playbook.schema.environment import DEFAULTS, ENVIRONMENT, SECTIONS
from novafleet.playbook.spec import NetworkSpec, Sheet, VmSpec
from novafleet.playbook.variables import Scope, scope_of, substitute_all
from novafleet.source.node import Node
from novafleet.source.schema import Findings, wrong_type

_LITERAL = ("vars", "include")
"""Keys whose content is not substituted here: they are read before there are variables."""


def read_sheet(
    document: Document,
    where: Path,
    *,
    overrides: Mapping[str, str],
    var_files: Sequence[Path],
    env: Mapping[str, str],
    findings: Findings,
) -> Sheet | None:
    """The entries that can be decoded; None when not even variables or the name can. Errors go to ``findings``."""
    root = document.root
    scopes = findings.attempt(lambda: scope_of(root.fields.get("vars"), tuple(var_files), overrides, env))
    for scope in scopes:
        sections, bases = _sections(root, scope, findings)
        heads = findings.attempt(lambda: ENVIRONMENT.decode(_head(root, scope, findings)))  # noqa: B023 - called at once
        entries = {name: _decode(name, node, findings) for name, node in sections.items()}
        for head in heads:
            location = replace(root.location, file=str(where))
            declared = {name: frozenset(node.fields) for name, node in sections.items()}
            return Sheet(
                head.name,
                location,
                **entries,
                declared=declared,
                bases=bases,
                variables=scope.values,
                backup=head.backup,
                policies=head.policies,
            )
    return None


def _head(root: Node, scope: Scope, findings: Findings) -> Node:
    """The root without its entries."""
    empty = {key: node.with_value(None) for key, node in root.fields.items() if key in SECTIONS}
    rest = {
        key: node if key in _LITERAL else substitute_all(node, scope, findings)
        for key, node in root.fields.items()
        if key not in SECTIONS and key != "defaults"
    }
    return root.with_value({**rest, **empty})


def _sections(root: Node, scope: Scope, findings: Findings) -> tuple[dict[str, Node], Mapping[str, str]]:
    nothing = Node({}, root.location)
    sections = {name: root.fields.get(name, nothing) for name in SECTIONS}
    for name, node in sections.items():
        if node.value is not None and not isinstance(node.value, Mapping):
            findings.note(wrong_type(node, name, SECTIONS[name].label))
            sections[name] = nothing
    expanded = _expanded(root, sections["vms"], scope, findings)
    others = {name: substitute_all(node, scope, findings) for name, node in sections.items() if name != "vms"}
    return {**others, "vms": expanded.vms}, expanded.bases


def _expanded(root: Node, vms: Node, scope: Scope, findings: Findings) -> Expanded:
    node = root.fields.get("defaults")
    decoded = findings.attempt(lambda: DEFAULTS.decode(node, "defaults")) if node is not None else ()
    return expand(vms, next(iter(decoded), None), scope, findings)


def _decode(section: str, node: Node, findings: Findings) -> dict[str, Any]:
    """Entries by name, each knowing its name and the line of that name."""
    entries = SECTIONS[section].collect(node, section, findings)
    return {name: _named(entry, name, node) for name, entry in entries.items()}


def _named(entry: Any, name: str, node: Node) -> Any:
    source = node.key_location(name)
    if isinstance(entry, VmSpec):
        return replace(entry, vm=replace(entry.vm, name=name, source=source))
    if isinstance(entry, NetworkSpec):
        return replace(entry, network=replace(entry.network, name=name, source=source))
    return replace(entry, name=name, source=source)


def unresolved(error: ConfigError) -> bool:
    """Is it a reference that could not be replaced? What else is wrong with that value follows from it."""
    return error.code in ("NF-CFG-030", "NF-CFG-031", "NF-CFG-033")
