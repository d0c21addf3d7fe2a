"""A Compose file made fit for a copy that is cut off from everything: it publishes no port, its networks lead nowhere,
and it shares no data and no name with the original. Pure.

Format: https://docs.docker.com/reference/compose-file/.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from novafleet.errors import BackupError, Retry
from novafleet.model.backup import Snapshot

DROPPED = ("ports", "container_name", "labels", "logging", "mac_address", "build")
"""Of a service: what it would share with the original. Proxies and updaters find containers by their labels."""
REFUSED: Mapping[str, Callable[[Any], bool]] = {
    "extends": bool,
    "external_links": bool,
    "privileged": bool,
    "devices": bool,
    "network_mode": lambda mode: not (mode == "none" or str(mode).startswith("service:")),
    "pid": lambda of: not str(of).startswith("service:"),
    "ipc": lambda of: str(of) == "host" or str(of).startswith("container:"),
    "volumes_from": lambda others: any(str(each).startswith("container:") for each in others),
}
"""Of a service: what leads out of any copy, and when."""


def apart(text: bytes, snapshot: Snapshot, renamed: Callable[[str], str]) -> bytes:
    """The Compose file for a copy whose volumes are called as ``renamed`` says.

    Raises BackupError NF-BAK-051 when the copy would not be cut off, or not have its data.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise _refusal(snapshot, ["its Compose file cannot be read: " + str(exc).partition("\n")[0]]) from exc
    file: dict[str, Any] = found if isinstance(found, dict) else {}
    services = {name: fields or {} for name, fields in _mapping(file.get("services")).items()}
    named = {key: fields or {} for key, fields in _mapping(file.get("volumes")).items()}
    reasons = ["it includes other files"] if "include" in file else []
    reasons += [why for name, fields in services.items() for why in _reasons(name, fields)]
    reasons += [why for key, fields in named.items() if (why := _lacking(key, fields, snapshot))]
    if reasons or not services:
        raise _refusal(snapshot, reasons or ["its Compose file has no services"])
    networks = {name: {"internal": True} for name in {**_mapping(file.get("networks")), "default": None}}
    volumes = {key: _volume(key, fields, renamed) for key, fields in named.items()}
    kept = {key: value for key, value in file.items() if key != "name"}
    copies = {name: _service(fields) for name, fields in services.items()}
    made = {**kept, "services": copies, "networks": networks, "volumes": volumes}
    return yaml.safe_dump(made, sort_keys=False).encode()


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _reasons(name: str, fields: Mapping[str, Any]) -> Iterator[str]:
    for key, leads_out in REFUSED.items():
        if key in fields and leads_out(fields[key]):
            yield f"service {name} has {key}: {fields[key]}"
    if "build" in fields and "image" not in fields:
        yield f"service {name} is built, and its image has no name of its own (image:)"
    for each in fields.get("volumes") or ():
        source, read_only = _mount(each)
        if _leads_out(source, read_only=read_only):
            yield f"service {name} mounts {source}, which is no volume and not in the bundle"


def _mount(mount: object) -> tuple[str, bool]:
    """What is mounted (empty: nothing of the host's), and whether it can only be read."""
    if isinstance(mount, dict):
        source = str(mount.get("source") or "")
        return (source if mount.get("type") in ("bind", "volume") else ""), bool(mount.get("read_only"))
    source, _, rest = str(mount).partition(":")
    return (source if rest else ""), "ro" in rest.rpartition(":")[2].split(",")


def _leads_out(source: str, *, read_only: bool) -> bool:
    """Is it the host's own, and may be written to or commanded through? A name is a volume's."""
    if not source.startswith((".", "/", "~", "$")):
        return False
    inside = source.startswith(".") and not posixpath.normpath(source).startswith("..")
    return not inside and not (read_only and not source.endswith(".sock"))


def _lacking(key: str, fields: Mapping[str, Any], snapshot: Snapshot) -> str:
    """Why a volume's content is not in the snapshot, or ""."""
    left_out = _mapping(snapshot.facts.get("left_out"))
    name = _name(key, fields)
    why = left_out.get(name) or left_out.get(f"{snapshot.domain.removeprefix('stack.')}_{key}")
    return f"volume {name} is not in the backup: {why}" if why else ""


def _name(key: str, fields: Mapping[str, Any]) -> str:
    """What the file itself calls a volume; the project's name comes before its key when it does not."""
    external = fields.get("external")
    old = str(external.get("name") or "") if isinstance(external, dict) else ""
    return str(fields.get("name") or old or key)


def _volume(key: str, fields: Mapping[str, Any], renamed: Callable[[str], str]) -> dict[str, Any]:
    return {"name": renamed(_name(key, fields))} if fields.get("external") or fields.get("name") else {}


def _service(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in fields.items() if key not in DROPPED}
    if isinstance(kept.get("networks"), dict):
        aliases = {name: _mapping(value).get("aliases") for name, value in kept["networks"].items()}
        kept["networks"] = {name: {"aliases": each} if each else None for name, each in aliases.items()}
    return kept


def _refusal(snapshot: Snapshot, reasons: list[str]) -> BackupError:
    return BackupError(
        f"a copy of {snapshot.vm} could not be cut off from everything",
        code="NF-BAK-051",
        where=snapshot.id,
        cause="; ".join(reasons),
        hints=(f"novafleet restore {snapshot.id} --stack NAME --host HOST --as COPY   # on a host of its own",),
        retry=Retry.NEVER,
    )
