"""What a migration writes into the metadata of a domain on both its hosts: whoever finds it, another controller or a
person with only virsh, knows where the other copy is and how far the move was.

    <migration xmlns="https://novafleet.dev/xmlns/migration/1" job="5f0c92aa" phase="switching" mode="live"
               from="kvm1" to="kvm2" run="20261121T…" running="yes" at="1795275231.500"/>

The namespace is its own because libvirt keeps one element for each (virDomainSetMetadata). Which side a domain is on is
told by the host it is found on, never by the element: libvirt carries it along with the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from novafleet.model.migration import Mode, Phase

MIGRATION_NS = "https://novafleet.dev/xmlns/migration/1"
MIGRATION_KEY = "novafleet-migration"
ELEMENT = f"{{{MIGRATION_NS}}}migration"

CLOSED = frozenset((Phase.COMMITTED, Phase.UNDONE, Phase.ROLLED_BACK))
"""Phases after which nothing is left to decide."""

ElementTree.register_namespace(MIGRATION_KEY, MIGRATION_NS)


@dataclass(frozen=True, slots=True)
class Moving:
    """One migration as its domain remembers it. ``running``: the guest ran when it began; ``at`` seconds since the
    epoch, by the controller's clock, when this was written; ``held``: on the destination its CPUs wait for our word."""

    job: str
    phase: Phase
    mode: Mode
    source: str
    destination: str
    run: str = ""
    running: bool = True
    at: float = 0.0
    held: bool = False

    @property
    def open(self) -> bool:
        """Is it under way, or was it cut off?"""
        return self.phase not in CLOSED


def unfinished(moving: Moving) -> str:
    """What an ``open`` one is, for people."""
    return f"its migration {moving.job} from {moving.source} to {moving.destination} has not ended ({moving.phase})"


def element(moving: Moving) -> ElementTree.Element:
    """The record as the child of ``<metadata>``."""
    return ElementTree.Element(
        ELEMENT,
        {
            "job": moving.job,
            "phase": moving.phase.value,
            "mode": moving.mode.value,
            "from": moving.source,
            "to": moving.destination,
            "run": moving.run,
            "running": "yes" if moving.running else "no",
            "at": f"{moving.at:.3f}",
            **({"held": "yes"} if moving.held else {}),
        },
    )


def text(moving: Moving) -> str:
    """The record as ``set_metadata`` takes it."""
    return ElementTree.tostring(element(moving), encoding="unicode")


def read(xml: str) -> Moving | None:
    """The record in a domain's definition; None when it has none, or one that nobody can understand."""
    if MIGRATION_NS not in xml:
        return None
    try:
        node = ElementTree.fromstring(xml).find(f"metadata/{ELEMENT}")
    except ElementTree.ParseError:
        return None
    return _moving(node) if node is not None else None


def _moving(node: ElementTree.Element) -> Moving | None:
    try:
        return Moving(
            job=node.get("job", ""),
            phase=Phase(node.get("phase", "")),
            mode=Mode(node.get("mode", "")),
            source=node.get("from", ""),
            destination=node.get("to", ""),
            run=node.get("run", ""),
            running=node.get("running") != "no",
            at=float(node.get("at", "0")),
            held=node.get("held") == "yes",
        )
    except ValueError:
        return None
