"""The batch dump of virsh to plain data. Guests can write into their XML, so frames carry an unguessable mark."""

from __future__ import annotations

import re
from xml.etree import ElementTree

Frames = list[tuple[str, str]]

_LISTS = ("domains", "running", "autostart", "saved", "networks", "net-active", "net-autostart", "pools")
_DEFINED = {"domain": "<domain", "network": "<network", "pool": "<pool"}
_VANISHED = re.compile(r"failed to get|error: (?:Domain|Network|Storage pool) not found: ")
"""virsh's words for what was listed and is gone when it looks for it, and libvirt's for what goes before it answers."""
_STATES = {"idle": "blocked", "in shutdown": "in-shutdown", "shut off": "shutoff", "no state": "nostate"}
"""virsh's words (virshDomainStateTypeToString) that libvirt's API has another one for."""
_VERSION = re.compile(r"^(Using library|Running hypervisor): .*?(\d+\.\d+\.\d+)", re.MULTILINE)


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{error, libvirt, qemu, host_uuid, domains: […], networks: […], pools: […]}``; XML stays text for the planner.

    ``error`` says why the answer is missing or not whole: a domain that is not seen would be made a second time.
    """
    pairs = (frame.partition(" ") for frame in text.split(f"{mark} ")[1:])
    frames = [(kind.rstrip("\n"), rest) for kind, _, rest in pairs]
    first = dict(reversed(frames))
    lists = {kind: set(rest.split()) for kind, rest in frames if kind in _LISTS}
    defined = {
        kind: [rest for name, rest in frames if name == kind and opening in rest] for kind, opening in _DEFINED.items()
    }
    return {
        "error": _error(frames),
        **_versions(first.get("version", "")),
        "host_uuid": _host_uuid(first.get("capabilities", "")),
        "domains": [_domain(rest, lists) for rest in defined["domain"]],
        "networks": [_network(rest, lists) for rest in defined["network"]],
        "pools": [_pool(rest) for rest in defined["pool"]],
    }


def _error(frames: Frames) -> str:
    for kind, rest in frames:
        if kind == "error":
            return rest
        lost = kind in _DEFINED and _DEFINED[kind] not in rest and not _VANISHED.search(rest)
        if lost or (kind in _LISTS and "error: " in rest):
            return f"incomplete\n{rest.strip()}"
    return "" if ("end", "") in frames else "incomplete\nthe answer ended early"


def _versions(text: str) -> dict[str, object]:
    found = dict(_VERSION.findall(text))
    return {"libvirt": found.get("Using library", ""), "qemu": found.get("Running hypervisor", "")}


def _host_uuid(text: str) -> str:
    """libvirt's own id of the host (SMBIOS, or host_uuid in libvirtd.conf); migration refuses equal ones."""
    found = re.search(r"<host>\s*<uuid>([0-9a-f-]{36})</uuid>", text)
    return found.group(1) if found else ""


def _domain(text: str, lists: dict[str, set[str]]) -> dict[str, object]:
    head, _, xml = text.partition("<domain")
    uuid, _, state = head.strip().partition(" ")
    word, _, reason = state.strip().partition(" (")
    return {
        "uuid": uuid,
        "state": _STATES.get(word, word),
        "reason": reason.rstrip(")"),
        "autostart": uuid in lists.get("autostart", ()),
        "saved": uuid in lists.get("saved", ()),
        "xml": f"<domain{xml}".strip(),
    }


def _network(text: str, lists: dict[str, set[str]]) -> dict[str, object]:
    uuid, _, xml = text.partition("<network")
    uuid = uuid.strip()
    return {
        "uuid": uuid,
        "active": uuid in lists.get("net-active", ()),
        "autostart": uuid in lists.get("net-autostart", ()),
        "xml": f"<network{xml}".strip(),
    }


def _pool(text: str) -> dict[str, object]:
    head, _, xml = text.partition("<pool")
    name, _, info = head.strip().partition(" ")
    fields = dict(re.findall(r"^(\w+):\s+(\S+)", info, re.MULTILINE))
    return {
        "name": name,
        "active": fields.get("State") == "running",
        "capacity": _bytes(fields.get("Capacity", "")),
        "available": _bytes(fields.get("Available", "")),
        "path": _path(f"<pool{xml}"),
    }


def _bytes(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else 0


def _path(xml: str) -> str:
    try:
        return ElementTree.fromstring(xml).findtext("target/path", "")
    except ElementTree.ParseError:
        return ""
