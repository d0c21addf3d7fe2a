"""Which of a VM's readiness gates its destination is asked for, and what they are asked of. Pure.

A gate that is not met on the source says nothing about the destination; one about the boot says nothing of a guest that
does not boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

from novafleet.capability.migration.build import Case
from novafleet.capability.migration.findings import RUNNING, note, warning
from novafleet.model.environment import Gate, GateKind, Vm
from novafleet.model.migration import Finding, GateAhead, Mode, Move

WORD = "gates"
"""What ``--consent`` calls going without them."""
BOOTING = (Mode.WARM, Mode.COLD)
OF_A_BOOT = frozenset((GateKind.SERIAL, GateKind.CLOUD_INIT))
"""They read the serial console, which begins anew on the destination."""
NEVER = frozenset((GateKind.STOPPED, GateKind.COMPOSE))
"""Not what a running VM is asked for."""


def modes_of(gate: Gate) -> tuple[Mode, ...]:
    """The modes after which it can be met."""
    return BOOTING if gate.kind in OF_A_BOOT else (*RUNNING, *BOOTING)


def asked(move: Move, mode: Mode) -> Vm:
    """The VM with the gates its destination is asked for, as ``execute.gate`` takes them."""
    found = [gate for gate in move.gates if mode in modes_of(gate)]
    if mode in RUNNING and move.address:
        found = [gate if gate.address else replace(gate, address=move.address) for gate in found]
    log = ElementTree.fromstring(move.xml).find("devices/serial/log")
    said = log.get("file", "") if log is not None else ""
    return Vm(move.vm, move.vm, move.domain, move.uuid, move.destination, 0, ready=tuple(found), serial_log=said)


def foretold(case: Case) -> Iterator[Finding]:
    """What is asked afterwards, and what comes of an answer that is no."""
    observed, there = case.observed, case.destination.host
    if observed.gates_unknown and observed.running:
        yield note("NF-MIG-352", f"its gates are not known here: {observed.gates_unknown}", "novafleet up FILE")
    if WORD in case.wanted.consent and observed.gates:
        yield warning("NF-MIG-350", f"{_names(observed.gates)} will not be asked on {there}: --consent {WORD}")
        return
    if several := [each for each in observed.gates if each.modes]:
        what = (
            f"{_names(several)} must be met on {there} too. If not: live and postcopy leave it there, "
            f"{case.source.host} keeps its disks; warm and cold go back, and what it wrote there is lost"
        )
        yield note("NF-MIG-350", what, f"--consent {WORD}   # do not ask")
    for each in observed.gates:
        if not each.met:
            what = f"gate {each.gate.label} is not met on {case.source.host} ({each.evidence}): it will not be asked"
            yield warning("NF-MIG-351", what, "mend that first, if it is to prove something")


def _names(gates: tuple[GateAhead, ...] | list[GateAhead]) -> str:
    return ("gate " if len(gates) == 1 else "gates ") + ", ".join(each.gate.label for each in gates)
