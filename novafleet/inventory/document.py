"""From one inventory file to its document, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from novafleet.errors import ConfigError, Location
from novafleet.inventory import ansible, detect, own
from novafleet.inventory.detect import Format
from novafleet.inventory.layer import Document
from novafleet.source.compose import VAULT_TAGS
from novafleet.source.load import check_yaml, parse, read_text
from novafleet.source.node import Node, describe
from novafleet.source.schema import Findings

MAX_NODES = 1_000_000
"""Values in an inventory file: ten thousand hosts with a hundred variables each."""

_VAULT_FILE = "$ANSIBLE_VAULT;"


def read(path: Path) -> Document:
    """The document of a file. Raises ConfigError, or all that is wrong as ConfigErrors."""
    if detect.of_file(path) is Format.PROGRAM:
        from novafleet.inventory import dynamic, program  # the readers of rarer formats are loaded where one is met

        return dynamic.read(str(path), program.run)
    text = read_text(path)
    if is_vault(text):
        whole = f"ansible-vault decrypt {path}"
        raise _vault("the file is encrypted by ansible-vault", Location(str(path), 1, 1), whole)
    if detect.of_text(text) is Format.INI:
        from novafleet.inventory import ini

        return ini.parse(text, str(path))
    return _yaml(text, str(path))


def _yaml(text: str, file: str) -> Document:
    root = _tree(text, file)
    if root.value is None or root.value == {}:
        return Document()
    if not root.fields:
        raise ConfigError(
            f"an inventory is a mapping, this is {describe(root)}",
            code="NF-INV-002",
            where=root.location,
            hints=("begin with 'hosts:' (docs/guides/inventory.md), or with 'all:' as Ansible does",),
        )
    _refuse_plugin(root)
    if own.is_own(root):
        return own.read(root)
    return ansible.read(ansible_tree(text, file))


def _tree(text: str, file: str) -> Node:
    """By our rules, where they hold; Ansible takes more."""
    try:
        return parse(text, file, most=MAX_NODES)
    except ConfigError:
        root = ansible_tree(text, file)
        if own.is_own(root):
            refuse_vaulted(text, file)
            raise
        return root


def ansible_tree(text: str, file: str) -> Node:
    """YAML as Ansible means it. Raises ConfigError NF-CFG-003, -01x."""
    return parse(text, file, scalar=ansible.scalar, most=MAX_NODES, loose=True)


def _refuse_plugin(root: Node) -> None:
    """``plugin: community.libvirt.libvirt``: a configuration for one of Ansible's inventory plugins."""
    plugin = root.fields.get("plugin")
    if plugin is None or not isinstance(plugin.value, str):
        return
    raise ConfigError(
        f"this configures Ansible's inventory plugin {plugin.value!r}, which only Ansible can run",
        code="NF-INV-011",
        where=root.key_location("plugin"),
        hints=("name an executable that says: #!/bin/sh\\nexec ansible-inventory -i THIS_FILE --list",),
    )


def is_vault(text: str) -> bool:
    """Did ansible-vault encrypt the whole file?"""
    return text.startswith(_VAULT_FILE)


def refuse_vaulted(text: str, file: str) -> None:
    """Raise NF-INV-015 for values that ansible-vault encrypted in a file of ours, all of them."""
    if "!vault" not in text:
        return
    findings = Findings()
    check_yaml(text, file)
    for where in _vault_values(text, file):
        findings.note(
            _vault(
                "the value is encrypted by ansible-vault, which NovaFleet does not open",
                where,
                "sudo's password belongs elsewhere: become: {password: env:NAME}",
                "or keep encrypted values in a file that is encrypted as a whole: group_vars/all/vault.yml",
            )
        )
    findings.check()


def _vault_values(text: str, file: str) -> Iterator[Location]:
    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        if getattr(event, "tag", None) in VAULT_TAGS:
            yield Location(file, event.start_mark.line + 1, event.start_mark.column + 1)


def _vault(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-INV-015", where=where, hints=hints)
