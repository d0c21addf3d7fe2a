"""An environment file and what it includes, as one document."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from novafleet.errors import ConfigError, Location
from novafleet.playbook.merge import over, union
from novafleet.source.excerpt import illustrate
from novafleet.source.load import parse, read_text
from novafleet.source.node import Node
from novafleet.source.schema import OneOrMany, Text, wrong_type

SECTIONS = ("images", "networks", "vms", "stacks")
SETTINGS = ("vars", "defaults", "backup", "policies")
PATH = Text(r"[^\x00-\x1f\x7f]+", "a path", empty=False)
_PATHS = OneOrMany(PATH)


@dataclass(frozen=True, slots=True)
class Document:
    """The merged root mapping, and the text of every file it came from by the name locations have."""

    root: Node
    texts: Mapping[str, str]


def beside(where: Location, path: str) -> Path:
    """A path as written in a file: ``~`` is the home directory, relative means relative to that file."""
    return Path(where.file).parent / os.path.expanduser(path)  # noqa: PTH111 - Path's raises for an unknown user


def read_document(path: Path) -> Document:
    """Read a file and its includes, each once. Names may be defined once; the including file's ``vars`` and
    ``defaults`` win. Raises ConfigError (NF-CFG-002 … -014; NF-CFG-032 for a cycle)."""
    read: dict[Path, tuple[Path, str]] = {}
    try:
        root = reduce(_combine, _visit(path, Location(str(path)), (), read))
    except ConfigError as exc:
        illustrate(exc, _texts(read))
        raise
    return Document(root, _texts(read))


def _texts(read: Mapping[Path, tuple[Path, str]]) -> Mapping[str, str]:
    return {str(path): text for path, text in read.values()}


def _visit(path: Path, asked: Location, chain: tuple[Path, ...], read: dict[Path, tuple[Path, str]]) -> list[Node]:
    real = Path(os.path.realpath(path))  # Path.resolve raises for a link that leads to itself
    if real in chain:
        names = " -> ".join(str(each) for each in (*chain[chain.index(real) :], real))
        raise ConfigError(f"{path} includes itself", code="NF-CFG-032", where=asked, cause=names)
    if real in read:
        return []
    try:
        text = read_text(path)
    except ConfigError as exc:
        exc.where = asked if chain else exc.where
        raise
    read[real] = (path, text)
    root = parse(text, str(path))
    if not isinstance(root.value, Mapping):
        raise wrong_type(root, "", "a mapping with the keys environment, networks, vms …")
    if chain:
        _check_merged(root)
    roots: list[Node] = []
    for where, name in _includes(root):
        roots += _visit(beside(where, name), where, (*chain, real), read)
    return [*roots, root]


def _check_merged(root: Node) -> None:
    """What is no mapping would vanish under the including file's."""
    for key in (*SECTIONS, *SETTINGS):
        node = root.fields.get(key)
        if node is not None and node.value is not None and not isinstance(node.value, Mapping):
            raise wrong_type(node, key, "a mapping")


def _includes(root: Node) -> list[tuple[Location, str]]:
    node = root.fields.get("include")
    if node is None:
        return []
    names = _PATHS.decode(node, "include")
    return list(zip((each.location for each in node.items or (node,)), names, strict=True))


def _combine(lower: Node, upper: Node) -> Node:
    """``upper`` includes ``lower``, or comes after it. A key with nothing under it takes nothing away."""
    said = {key: node for key, node in upper.fields.items() if node.value is not None or key not in lower.fields}
    sections: dict[str, Node] = {}
    for name in SECTIONS:
        if name in lower.fields and name in said:
            sections[name] = union(name, lower.fields[name], said[name])
    merged = over(upper.with_value(said), lower)
    return merged.with_value({**merged.fields, **sections})
