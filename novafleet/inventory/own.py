"""NovaFleet's own YAML: ``hosts`` by name or range, ``groups`` of them, nested as deep as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory import names, ranges
from novafleet.inventory.layer import Document, GroupEntry, HostEntry, Mention, Setting, Settings, variables
from novafleet.model.fleet import Become, TrustPolicy
from novafleet.source.node import Node
from novafleet.source.schema import (
    Choice,
    Either,
    Field,
    Findings,
    Flag,
    Free,
    Integer,
    OneOrMany,
    Record,
    Shape,
    Text,
    bad_value,
    wrong_type,
)

SECTIONS = ("hosts", "groups")


class _PasswordSource(Shape[str]):
    """Never shows what it was given: a person may have written the password itself."""

    label = "env:NAME, file:PATH or ask"

    def decode(self, node: Node, path: str = "") -> str:
        text = node.value if isinstance(node.value, str) else ""
        kind, _, name = text.partition(":")
        if text == "ask" or (kind == "env" and name):
            return text
        if kind == "file" and name:
            return f"file:{Path(node.location.file).parent / Path(name).expanduser()}"
        raise bad_value(
            node, path, f"expected {self.label}: where the password is, not the password", "password: env:SUDO_PASSWORD"
        )


class _Labels(Shape[Node]):
    """Short texts by name; numbers and flags count as text."""

    label = "a mapping from names to texts"

    def decode(self, node: Node, path: str = "") -> Node:
        if not isinstance(node.value, Mapping):
            raise wrong_type(node, path, self.label)
        for name, child in node.fields.items():
            if not isinstance(child.value, str | int | float):
                raise wrong_type(child, f"{path}.{name}", "a text")
        return node


class _Children(Shape[Node]):
    """Names of groups, or the groups themselves."""

    label = "group names, or a mapping from names to groups"

    def decode(self, node: Node, path: str = "") -> Node:
        if not isinstance(node.value, Mapping):
            OneOrMany(Text(empty=False)).decode(node, path)
        return node


class _Named(Shape[Node]):
    """A mapping from names to what is decoded one by one, so that a wrong host does not hide the next."""

    def decode(self, node: Node, path: str = "") -> Node:
        if not isinstance(node.value, Mapping) and node.value is not None:
            raise wrong_type(node, path, self.label, "end each name with ':' and drop the '-'")
        return node


class _Hosts(_Named):
    label = "a mapping from names or ranges to hosts"

    def shapes(self) -> Iterable[Shape[object]]:
        return (HOST,)


class _Groups(_Named):
    label = "a mapping from names to groups"

    def shapes(self) -> Iterable[Shape[object]]:
        return (GROUP,)


def _become(enabled: bool, password: str, **_: object) -> Become:
    return Become(enabled, password)


BECOME = Record(
    "become",
    "How root is reached on a host.",
    (
        Field("enabled", Flag(), True, "Use sudo."),
        Field("method", Choice("sudo"), "sudo", "The one method there is."),
        Field("user", Choice("root"), "root", "The one user whose rights are needed."),
        Field(
            "password",
            _PasswordSource(),
            "",
            "Where sudo's password comes from: an environment variable, a file, or a question at the "
            "start. Never the password itself.",
            "env:SUDO_PASSWORD",
            shown="sudo asks for none",
        ),
    ),
    into=_become,
)

BECOMES: Either[Any] = Either(flag=Flag(), text=Flag(), mapping=BECOME)
BECOMES.label = "true, false or a mapping (become)"

CONNECTION = (
    Field("address", Text(empty=False), None, "Host name or IP address; without it, the host's name. For a range of "
          "hosts it may be a range of as many addresses.", "10.0.0.11", shown="the host's name"),
    Field("port", Integer(1, 65535), None, "sshd's port.", "2222", shown="ssh_config's, else 22"),
    Field("user", Text(empty=False), None, "Who logs in.", "admin", shown="ssh_config's, else yours"),
    Field("key", Text(empty=False), None, "Private key file. `~` is your home; a relative path starts at this file.",
          "~/.ssh/fleet", shown="ssh_config's, and the agent's keys"),
    Field("jump", OneOrMany(Text(empty=False)), None, "Hosts to go through, the first one first: names of this "
          "inventory or `user@host:port`. `[]` goes direct where a group says otherwise.", "bastion",
          shown="ssh_config's ProxyJump"),
    Field("become", BECOMES, None, "`true`: sudo without password; `false`: the user has "
          "the rights already; or the mapping below.", "true", shown="false"),
    Field("known_hosts", Text(empty=False), None, "A known_hosts file that vouches for the host.",
          "./known_hosts", shown="ssh's and NovaFleet's own"),
    Field("trust", Choice(*(policy.value for policy in TrustPolicy)), None, "How an unknown host key is met. A changed "
          "key is always refused.", "accept-new", shown="strict"),
    Field("fingerprint", Text("SHA256:[A-Za-z0-9+/]{43}=?", "a fingerprint such as SHA256:… from ssh-keygen -lf"), None,
          "The one host key to accept, with `trust: pinned`.", shown="none"),
    Field("labels", _Labels(), None, "Facts for people and placement.", "{rack: r1}", shown="none"),
    Field("vars", Free(), None, "Variables for templates, of any form.", "{ntp: 10.0.0.1}", shown="none"),
)  # fmt: skip

SHARED = tuple(field for field in CONNECTION if field.name not in ("address", "fingerprint"))
"""What several hosts can have in common."""


def _settings(origins: Mapping[str, Location], **values: Any) -> Settings:
    """Only what the file says; ``labels`` and ``vars`` name by name."""
    found: dict[str, Setting] = {}
    for key in origins:
        value = values[key]
        if key == "vars":
            found.update(variables(value))
        elif key == "labels":
            for name, child in value.fields.items():
                text = str(child.value).lower() if isinstance(child.value, bool) else str(child.value)
                found[f"labels.{name}"] = Setting(text, value.key_location(name))
        elif key not in ("hosts", "groups", "children"):
            found[key] = Setting(Become(value) if key == "become" and isinstance(value, bool) else value, origins[key])
    return found


HOST = Record("host", "One host, or each of a range.", CONNECTION, into=_settings)

GROUP = Record(
    "group",
    "Hosts that share something. What a group says holds for its hosts and those of its children; `all` is every host. "
    "A deeper group wins over the one it is in, of equals the last by name, the host itself over every group.",
    (
        Field("hosts", OneOrMany(Text(empty=False)), (), "Names or ranges of hosts declared under `hosts`.",
              "[kvm1, \"db[1:3]\"]", shown="none"),
        Field("children", _Children(), None, "Groups whose hosts are its hosts too: names, or a mapping with "
              "the groups themselves.", "[web, db]", shown="none"),
        *SHARED,
    ),
    into=_settings,
)  # fmt: skip

INVENTORY = Record(
    "inventory",
    "The whole file. Every other key at the top holds for all hosts, as in `groups: {all: …}`.",
    (
        Field("hosts", _Hosts(), {}, "Hosts by name or range (`kvm[01:20]`, `db-[a:c]`).", "{kvm1: {}}", shown="none"),
        Field("groups", _Groups(), {}, "Groups by name.", "{web: {hosts: [kvm1]}}", shown="none"),
        *SHARED,
    ),
    into=_settings,
)


def is_own(root: Node) -> bool:
    """Our file, not Ansible's: ``hosts`` or ``groups`` at the top, or nothing that looks like Ansible's groups."""
    if "all" in root.fields:
        return False
    groups = ("hosts", "children", "vars")
    if root.fields.keys() & set(SECTIONS):
        return True
    return not any(name in child.fields for child in root.fields.values() for name in groups)


def read(root: Node) -> Document:
    """The document of our YAML. Raises ConfigError NF-CFG-02x, NF-INV-004, -005, -007; several as ConfigErrors."""
    reader = _Reader()
    for settings in reader.structure.attempt(lambda: INVENTORY.decode(root)):
        reader.groups.append(GroupEntry("all", root.location, settings=settings))
    for name, node, where in _members(root, "hosts"):
        reader.hosts_of(name, node, where)
    for name, node, where in _members(root, "groups"):
        reader.group(name, node, where, f"groups.{name}")
    if reader.structure.errors:
        reader.structure.errors.extend(reader.values.errors)
    reader.structure.check()
    return Document(tuple(reader.hosts), tuple(reader.groups), own=True, errors=tuple(reader.values.errors))


def _members(root: Node, key: str) -> Iterator[tuple[str, Node, Location]]:
    section = root.fields.get(key, root.with_value(None))
    for name, node in section.fields.items():
        yield name, node, section.key_location(name)


class _Reader:
    """Collects entries. ``structure`` keeps what leaves hosts or groups unknown, ``values`` what does not."""

    def __init__(self) -> None:
        self.hosts: list[HostEntry] = []
        self.groups: list[GroupEntry] = []
        self.structure = Findings()
        self.values = Findings()
        self._declared: dict[str, Location] = {}

    def hosts_of(self, text: str, node: Node, where: Location) -> None:
        expanded = [name for found in self.structure.attempt(lambda: _names(text, where)) for name in found]
        settings = list(self.values.attempt(lambda: HOST.decode(node, f"hosts.{text}")))
        each = self.values.attempt(lambda: _addressed(expanded, settings[0])) if settings else ()
        for name, own in zip(expanded, each[0] if each else [{}] * len(expanded), strict=True):
            self._declare(name, where)
            self.hosts.append(HostEntry(name, where, own))

    def _declare(self, name: str, where: Location) -> None:
        first = self._declared.setdefault(name, where)
        if first is not where:
            self.values.note(
                ConfigError(
                    f"the host {name!r} is here twice: lines {first.line} and {where.line}",
                    code="NF-INV-007",
                    where=where,
                    hints=(f"remove one, or change the range so that it leaves {name} out",),
                )
            )

    def group(self, name: str, node: Node, where: Location, path: str) -> None:
        if not self.structure.attempt(lambda: names.check_group(name, where)):
            return
        decoded = self.values.attempt(lambda: GROUP.decode(node, path))
        hosts = node.fields.get("hosts")
        children = node.fields.get("children")
        entry = GroupEntry(
            name,
            where,
            hosts=tuple(self._mentions(hosts)) if hosts else (),
            children=tuple(self._children(children, path)) if children else (),
            settings=decoded[0] if decoded else {},
        )
        self.groups.append(entry)

    def _mentions(self, node: Node) -> Iterator[Mention]:
        for item in node.items or (node,):
            text = item.value
            if not isinstance(text, str):
                continue
            for expanded in self.structure.attempt(lambda t=text, w=item.location: _names(t, w)):  # type: ignore[misc]
                yield from (Mention(name, item.location) for name in expanded)

    def _children(self, node: Node, path: str) -> Iterator[Mention]:
        for name, child in node.fields.items():
            self.group(name, child, node.key_location(name), f"{path}.children.{name}")
            yield Mention(name, node.key_location(name))
        for item in node.items or (node,):
            if isinstance(item.value, str):
                yield Mention(item.value, item.location)


def _names(text: str, where: Location) -> tuple[str, ...]:
    return tuple(names.check_host(name, where) for name in ranges.expand(text, where))


def _addressed(hosts: Sequence[str], settings: Settings) -> Sequence[Settings]:
    """The settings of each host of a range, its address taken from a range of addresses."""
    address = settings.get("address")
    if address is None or not ranges.is_range(address.value) or names.bare_ipv6(address.value):
        return [settings] * len(hosts)
    addresses = ranges.expand(address.value, address.source)
    if len(addresses) != len(hosts):
        raise ConfigError(
            f"{address.value!r} is {len(addresses)} addresses for {len(hosts)} hosts",
            code="NF-INV-005",
            where=address.source,
            hints=("give both ranges the same length",),
        )
    return [{**settings, "address": replace(address, value=each)} for each in addresses]
