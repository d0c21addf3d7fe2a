"""Ansible's YAML inventories, read unchanged.

Plain scalars mean what YAML 1.1 says, because Ansible reads them so: ``yes`` is true, ``010`` is 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from novafleet.errors import ConfigError, Location
from novafleet.inventory import hostpattern, names
from novafleet.inventory.layer import Document, GroupEntry, HostEntry, Mention, Setting, variables
from novafleet.model.fleet import Notice
from novafleet.source.node import Node, Scalar, describe
from novafleet.source.scalar import resolve
from novafleet.source.schema import Findings
from novafleet.source.suggest import nearest

SECTIONS = ("hosts", "children", "vars")

_FLAGS = {
    spelling: value
    for word, value in (("yes", True), ("on", True), ("no", False), ("off", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_RADIX = re.compile(r"([-+]?)0(b[01_]{1,99}|x[0-9a-fA-F_]{1,99}|[0-7_]{0,99})")
_DECIMAL = re.compile(r"[-+]?[1-9][0-9_]{0,30}")
_FLOAT = re.compile(r"([-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?")
_BASE_60 = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+")


def scalar(text: str) -> Scalar:
    """A plain scalar by YAML 1.1 (https://yaml.org/type/), dates excepted: they stay text."""
    if text in _FLAGS:
        return _FLAGS[text]
    if match := _RADIX.fullmatch(text):
        digits = match[2].replace("_", "").lower()
        base = {"b": 2, "x": 16}.get(digits[:1], 8)
        return int(match[1] + (digits.removeprefix("b").removeprefix("x") or "0"), base)
    if _DECIMAL.fullmatch(text):
        return int(text.replace("_", ""))
    if len(text) < 32 and _BASE_60.fullmatch(text):
        return _base_60(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    value = resolve(text)
    return text if isinstance(value, float) or text.startswith("0o") else value


def _base_60(text: str) -> int:
    total = 0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        total = total * 60 + int(part)
    return -total if text.startswith("-") else total


def read(root: Node) -> Document:
    """The document of a YAML inventory. Raises ConfigError NF-INV-002, -004, -005; several as ConfigErrors."""
    reader = _Reader()
    for name, node in root.fields.items():
        reader.findings.attempt(lambda n=name, c=node: reader.group(n, c, root.key_location(n)))  # type: ignore[misc]
    reader.findings.check()
    return Document(tuple(reader.hosts), tuple(reader.groups), notices=tuple(reader.notices))


class _Reader:
    """Collects entries while walking the nested groups."""

    def __init__(self) -> None:
        self.hosts: list[HostEntry] = []
        self.groups: list[GroupEntry] = []
        self.notices: list[Notice] = []
        self.findings = Findings()

    def group(self, name: str, node: Node, where: Location) -> None:
        names.check_group(name, where)
        if node.value is not None and not isinstance(node.value, Mapping):
            self.notices.append(Notice(f"{name!r} is {describe(node)}, not a group: skipped, as Ansible does", where))
            return
        self._check_keys(name, node)
        children = self._section(name, node, "children")
        hosts = self._section(name, node, "hosts")
        entry = GroupEntry(
            name,
            where,
            hosts=tuple(self._hosts(hosts)),
            children=tuple(Mention(child, children.key_location(child)) for child in children.fields),
            settings=variables(self._section(name, node, "vars")),
        )
        self.groups.append(entry)
        for child, content in children.fields.items():
            self.group(child, content, children.key_location(child))

    def _check_keys(self, name: str, node: Node) -> None:
        for key in node.fields:
            if key in SECTIONS:
                continue
            where = node.key_location(key)
            near = nearest(key, SECTIONS)
            if near:
                what = f"the group {name!r} has no key {key!r}"
                self.findings.note(
                    ConfigError(what, code="NF-INV-002", where=where, hints=(f"did you mean {near!r}?",))
                )
            else:
                text = f"the group {name!r} has no key {key!r}, only hosts, children, vars: skipped, as Ansible does"
                self.notices.append(Notice(text, where))

    def _section(self, group: str, node: Node, key: str) -> Node:
        section = node.fields.get(key)
        if section is None or section.value is None:
            return Node({}, node.key_location(key))
        if isinstance(section.value, str):
            only = Node(None, section.location)
            return Node({section.value: only}, section.location, {section.value: section.location})
        if isinstance(section.value, Mapping):
            return section
        self.findings.note(
            ConfigError(
                f"{group}.{key}: expected a mapping, found {describe(section)}",
                code="NF-INV-002",
                where=section.location,
                hints=(f"end each name with ':' and drop the '-': {key}: {{NAME: }}",),
            )
        )
        return Node({}, section.location)

    def _hosts(self, section: Node) -> Iterator[Mention]:
        for text, node in section.fields.items():
            where = section.key_location(text)
            for pattern in self.findings.attempt(lambda t=text, w=where: hostpattern.parse(t, w)):  # type: ignore[misc]
                settings = self._host_variables(text, node)
                if pattern.port:
                    settings = {"vars.ansible_port": Setting(pattern.port, where), **settings}
                for name in pattern.hosts:
                    self.hosts.append(HostEntry(name, where, settings))
                    yield Mention(name, where)

    def _host_variables(self, host: str, node: Node) -> dict[str, Setting]:
        if node.value is None or isinstance(node.value, Mapping):
            return variables(node)
        self.findings.note(
            ConfigError(
                f"{host}: expected a mapping of variables, found {describe(node)}",
                code="NF-INV-002",
                where=node.location,
                hints=(f"write {host}: {{ansible_host: ADDRESS}}",),
            )
        )
        return {}
