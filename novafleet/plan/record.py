"""What NovaFleet wrote into a domain's metadata: whose it is, and the specification last applied.

    <novafleet:resource xmlns:novafleet="https://novafleet.dev/xmlns/1"
                        environment="devlab" name="web-1" base="web" uuid="…" run="…" digest="…">
      <novafleet:applied>{"memory": "268435456", …}</novafleet:applied>
    </novafleet:resource>

``uuid`` repeats the domain's own: a clone made by hand carries the element but another UUID, and is not ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree import ElementTree

from novafleet.model.address import METADATA_KEY, METADATA_NS
from novafleet.model.environment import Vm
from novafleet.model.facts import Domain

RESOURCE = f"{{{METADATA_NS}}}resource"
APPLIED = f"{{{METADATA_NS}}}applied"

ElementTree.register_namespace(METADATA_KEY, METADATA_NS)


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """The record of one domain; ``applied`` maps the fields of ``capability/vm/shape.py`` to text."""

    environment: str
    name: str
    base: str = ""
    uuid: str = ""
    run: str = ""
    digest: str = ""
    applied: Mapping[str, str] = field(default_factory=dict)


def of_vm(environment: str, vm: Vm, applied: Mapping[str, str], run: str = "") -> DomainRecord:
    """The record to write; its digest is that of ``applied``."""
    return DomainRecord(environment, vm.name, vm.base, vm.uuid, run, _digest(applied), dict(applied))


def element(record: DomainRecord) -> ElementTree.Element:
    """The record as the child of ``<metadata>``."""
    attributes = ("environment", "name", "base", "uuid", "run", "digest")
    found = {name: str(getattr(record, name)) for name in attributes}
    node = ElementTree.Element(RESOURCE, {name: value for name, value in found.items() if value})
    ElementTree.SubElement(node, APPLIED).text = json.dumps(dict(record.applied), sort_keys=True)
    return node


@lru_cache(maxsize=4096)
def read(domain: Domain) -> DomainRecord | None:
    """The record of a domain that is ours; None when it has none, or when it was copied from another domain."""
    if METADATA_NS not in domain.xml:
        return None
    try:
        root = ElementTree.fromstring(domain.xml)
    except ElementTree.ParseError:
        return None
    record = parse(root)
    return record if record is not None and record.uuid == domain.uuid else None


def parse(root: ElementTree.Element) -> DomainRecord | None:
    """The record in a parsed ``<domain>``, whoever wrote it."""
    node = root.find(f"metadata/{RESOURCE}")
    if node is None:
        return None
    return DomainRecord(
        environment=node.get("environment", ""),
        name=node.get("name", ""),
        base=node.get("base", ""),
        uuid=node.get("uuid", ""),
        run=node.get("run", ""),
        digest=node.get("digest", ""),
        applied=_applied(node.findtext(APPLIED, "")),
    )


def _applied(text: str) -> Mapping[str, str]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def _digest(applied: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(applied), sort_keys=True).encode()).hexdigest()
