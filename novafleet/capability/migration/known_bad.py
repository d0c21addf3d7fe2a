"""Versions of libvirt and QEMU between which migrations are known to fail: ``known_bad.json``, each with its source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from novafleet.capability.migration.build import Case
from novafleet.capability.migration.observed import Side
from novafleet.model.migration import Finding, Mode, Severity

CODE = "NF-MIG-316"
PROGRAMS = ("libvirt", "qemu")


def number(version: str) -> int:
    """``11.4.0`` in libvirt's encoding."""
    major, minor, micro = (int(part) for part in version.split("."))
    return major * 1_000_000 + minor * 1_000 + micro


def shown(version: int) -> str:
    """The encoding as people write it."""
    return f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"


@cache
def entries() -> tuple[Mapping[str, Any], ...]:
    """What is known."""
    return tuple(json.loads(Path(__file__).with_name("known_bad.json").read_text(encoding="utf-8")))


def known_bad(case: Case) -> Iterator[Finding]:
    """Those that this pair of hosts, this VM and this wish are about."""
    for entry in entries():
        sides = [side for side in _sides(case, entry["side"]) if _hit(side, entry)]
        if sides and _concerns(case, entry):
            version = shown(sides[0].versions[PROGRAMS.index(entry["program"])])
            yield Finding(
                Severity(entry["severity"]),
                CODE,
                f"{entry['program']} {version} on {sides[0].host}: {entry['what']} ({entry['source']})",
                entry["fix"],
                tuple(Mode(mode) for mode in entry["modes"]),
            )


def _sides(case: Case, word: str) -> tuple[Side, ...]:
    both = {"source": case.source, "destination": case.destination}
    return (both[word],) if word in both else tuple(both.values())


def _hit(side: Side, entry: Mapping[str, Any]) -> bool:
    version = side.versions[PROGRAMS.index(entry["program"])]
    within = number(entry["from"]) <= version < number(entry["below"])
    return within and ("libvirt_below" not in entry or side.versions[0] < number(entry["libvirt_below"]))


def _concerns(case: Case, entry: Mapping[str, Any]) -> bool:
    if entry.get("needs") == "parallel" and case.wanted.parallel < 2:
        return False
    if entry.get("kind", case.guest.kind) != case.guest.kind:
        return False
    return "cpu" not in entry or case.guest.cpu_mode == entry["cpu"] or entry["cpu"] in case.observed.domain.xml
