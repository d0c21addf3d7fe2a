"""``vm ls``: what is shown of a domain, from recorded and from odd definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet import bundled
from novafleet.app.vm import VmRow, row
from novafleet.model.facts import Domain
from novafleet.observe.facts import host_facts
from novafleet.observe.registry import collectors

RECORDED = sorted(bundled.folder("collectors").glob("libvirt/fixtures/[bt]*.txt"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    [libvirt] = collectors(["libvirt"])
    facts = host_facts("kvm1", 0.0, {"libvirt": libvirt.parse(path.read_text(), "@@")})
    shown = row("kvm1", facts.domains["coltest-run"])
    assert shown == VmRow("coltest-run", "kvm1", "running", 1, 32 * 1024**2, "coltest", shown.uuid, "booted")
    assert len(shown.uuid) == 36


@pytest.mark.parametrize(
    ("inside", "vcpus", "memory"),
    [
        ("<memory unit='KiB'>1048576</memory><vcpu placement='static' current='1'>4</vcpu>", 4, 1024**3),
        ("", 1, 0),
        ("<memory>much</memory><vcpu/>", 0, 0),
        (f"<memory>{'9' * 5000}</memory><vcpu>-1</vcpu>", 0, 0),
    ],
)
def test_odd_definitions(inside: str, vcpus: int, memory: int) -> None:
    shown = row("kvm1", Domain("x", "u", "shutoff", f"<domain>{inside}</domain>"))
    assert (shown.vcpus, shown.memory, shown.environment) == (vcpus, memory, "")
