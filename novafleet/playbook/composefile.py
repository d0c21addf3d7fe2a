"""As much of a Compose file as is needed: its services, their images, and the files it names.

Format: https://github.com/compose-spec/compose-spec/blob/main/spec.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from novafleet.errors import ConfigError, Location
from novafleet.source.load import parse
from novafleet.source.node import Node


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """``images`` as written, perhaps with Compose's own ``${…}`` in them. ``whole``: no other file adds to it."""

    services: frozenset[str]
    images: frozenset[str]
    whole: bool


def read_compose(text: str, file: str, present: frozenset[str]) -> ComposeFile:
    """``present`` are the bundle's files. Raises ConfigError NF-CFG-0xx (YAML), NF-ENV-042 (a path that leaves the
    bundle), NF-ENV-044 (no services, or a file that is not there)."""
    root = parse(text, file)
    services = root.fields.get("services")
    whole = "include" not in root.fields
    if not (services.fields if services is not None else not whole):
        raise _bad("the Compose file has no services", root.location)
    for path, required in _paths(root):
        _check(path, present, required=required)
    images = (each.fields["image"] for each in _members(root, "services") if "image" in each.fields)
    extended = any("extends" in each.fields for each in _members(root, "services"))
    names = services.fields if services is not None else ()
    return ComposeFile(frozenset(names), frozenset(str(image.value) for image in images), whole and not extended)


def _check(node: Node, present: frozenset[str], *, required: bool) -> None:
    path = str(node.value)
    if "$" in path or posixpath.isabs(path) or path.startswith("~"):
        return
    clean = posixpath.normpath(path)
    if clean == ".." or clean.startswith("../"):
        raise ConfigError(
            f"{path} leads out of the bundle",
            code="NF-ENV-042",
            where=node.location,
            hints=("move the file into the stack's folder", "or name it by its absolute path on the host"),
        )
    if required and clean not in present:
        raise _bad(f"{path} is not in the bundle", node.location, f"files there: {', '.join(sorted(present)[:8])}")


def _paths(root: Node) -> Iterator[tuple[Node, bool]]:
    """Every path relative to the file, and whether it must be there."""
    for section in ("configs", "secrets"):
        for entry in _members(root, section):
            yield from _field(entry, "file", required=True)
    for include in _listed(root.fields.get("include")):
        yield from _texts(include.fields.get("path", include), required=True)
    for service in _members(root, "services"):
        yield from _service(service)


def _service(service: Node) -> Iterator[tuple[Node, bool]]:
    for entry in _listed(service.fields.get("env_file")):
        optional = entry.fields.get("required", entry).value is False
        yield from _texts(entry.fields.get("path", entry), required=not optional)
    if "extends" in service.fields:
        yield from _field(service.fields["extends"], "file", required=True)
    build = service.fields.get("build")
    if build is not None:
        yield from _texts(build.fields.get("context", build), required=False)
    for volume in _listed(service.fields.get("volumes")):
        source = _mount_source(volume)
        if source is not None:
            yield source, False


def _mount_source(volume: Node) -> Node | None:
    """The host's side of a bind mount; None for a named volume."""
    if "source" in volume.fields:
        return volume.fields["source"] if volume.fields.get("type", volume).value == "bind" else None
    source = volume.value.partition(":")[0] if isinstance(volume.value, str) else ""
    return volume.with_value(source) if source.startswith(".") else None


def _field(node: Node, key: str, *, required: bool) -> Iterator[tuple[Node, bool]]:
    if key in node.fields:
        yield from _texts(node.fields[key], required=required)


def _texts(node: Node, *, required: bool) -> Iterator[tuple[Node, bool]]:
    return ((each, required) for each in _listed(node) if isinstance(each.value, str))


def _members(node: Node, key: str) -> tuple[Node, ...]:
    return tuple(node.fields[key].fields.values()) if key in node.fields else ()


def _listed(node: Node | None) -> tuple[Node, ...]:
    return () if node is None else node.items or (node,)


def _bad(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-ENV-044", where=where, hints=hints)
