"""The batch dump of virsh to plain data. Guests can write into their XML, so frames carry an unguessable mark."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_LISTS = ("domains", "running", "autostart", "networks", "net-active", "net-autostart", "pools")
_VERSION = re.compile(r"^(Using library|Running hypervisor): .*?(\d+\.\d+\.\d+)", re.MULTILINE)


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{error, libvirt, qemu, domains: […], networks: […], pools: […]}``; XML stays text for the planner to read."""
    frames = [frame.partition(" ") for frame in text.split(f"{mark} ")[1:]]
    lists = {kind: set(rest.split()) for kind, _, rest in frames if kind in _LISTS}
    return {
        "error": next((rest for kind, _, rest in frames if kind == "error"), ""),
        **_versions(next((rest for kind, _, rest in frames if kind == "version"), "")),
        "host_uuid": next((_host_uuid(rest) for kind, _, rest in frames if kind == "capabilities"), ""),
        "domains": [_domain(rest, lists) for kind, _, rest in frames if kind == "domain"],
        "networks": [_network(rest, lists) for kind, _, rest in frames if kind == "network"],
        "pools": [_pool(rest) for kind, _, rest in frames if kind == "pool"],
    }


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
        "state": word.replace(" ", ""),
        "reason": reason.rstrip(")"),
        "autostart": uuid in lists.get("autostart", ()),
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
        "capacity": int(fields.get("Capacity", 0)),
        "available": int(fields.get("Available", 0)),
        "path": ElementTree.fromstring(f"<pool{xml}").findtext("target/path", ""),
    }
