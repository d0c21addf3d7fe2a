"""What a migration would be like: for people a table of modes with what was found, for machines one document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from novafleet.model.encode import encode
from novafleet.model.migration import Dossier, Finding, GateAhead, Severity, Verdict
from novafleet.report import console
from novafleet.report.console import size

MARKS = {Severity.BLOCKER: ("✗", "red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "dim")}
LEFT_OUT = ("xml", "snapshots", "checkpoints", "wanted", "gates", "filters")
"""Of the move: definitions as libvirt wrote them, counted instead."""


def show(dossiers: Sequence[Dossier], form: str, *, single: bool = False) -> None:
    """Print them; of a single VM its document itself, else ``{vms: […]}``."""
    if form != "table":
        documents = [document(each) for each in dossiers]
        console.document(documents[0] if single and documents else {"vms": documents}, form)
        return
    for each in dossiers:
        _print(each)


def document(dossier: Dossier) -> Mapping[str, Any]:
    """The stable form: docs/reference/migration-dossier.md."""
    move = {key: value for key, value in encode(dossier.move).items() if key not in LEFT_OUT}
    counts = {"snapshots": len(dossier.move.snapshots), "checkpoints": len(dossier.move.checkpoints)}
    wanted = {**encode(dossier.move.wanted), "consent": sorted(dossier.move.wanted.consent)}
    rest = {key: value for key, value in encode(dossier).items() if key != "move"}
    rest["gates"] = gate_rows(dossier.gates)
    return {**move, **counts, "wanted": wanted, "possible": bool(dossier.move.ladder), **rest}


def gate_rows(gates: Sequence[GateAhead]) -> list[Mapping[str, Any]]:
    """What each says now, and after which modes it is asked."""
    return [
        {"gate": each.gate.label, "timeout": each.gate.timeout, "met": each.met, "evidence": each.evidence}
        | {"modes": [mode.value for mode in each.modes]}
        for each in gates
    ]


def _print(dossier: Dossier) -> None:
    move, out = dossier.move, console.out()
    out.print(console.text(f"{move.domain}: {move.source} -> {move.destination}", "bold"))
    for line in _lines(dossier):
        out.print(console.text(f"  {line}"), soft_wrap=True)
    grid = console.table("", "", "MODE", "TIME", "STANDS STILL", "BYTES", "")
    for verdict in dossier.verdicts:
        mark, style = ("✓", "green") if verdict.possible else ("✗", "red")
        cells = (mark, verdict.mode.value, *_times(dossier, verdict), verdict.why)
        grid.add_row(*(console.text(cell, style if cell == mark else "") for cell in cells))
    out.print(grid)
    for finding in dossier.findings:
        print_finding(finding)


def _lines(dossier: Dossier) -> Iterator[str]:
    move = dossier.move
    ladder = ", then ".join(mode.value for mode in move.ladder) or "none possible"
    yield f"modes: {ladder}; data path: {move.path.value}"
    for name, why in dossier.paths.items():
        if why and name != "tls":
            yield f"not by {name}: {why}"
    link = f"{size(int(dossier.link_rate))}/s through the controller" if dossier.link_rate else "not measured"
    yield f"link: {link}; the guest changes {size(int(dossier.dirty_rate))} of memory a second"
    for disk in move.disks:
        how = "shared" if disk.shared else f"{size(disk.allocated)} of {size(disk.size)} to copy"
        under = f", on {disk.backing.rpartition('/')[2]}" if disk.backing else ""
        yield f"disk {disk.target}: {how}{under} -> {disk.path or 'as it is'}"
    for file in move.files:
        how = "shared" if file.shared else "there already" if file.present else f"{size(file.size)} to bring"
        yield f"{file.kind}: {how} ({file.path})"
    for each in dossier.gates:
        after = (
            f"asked after {', '.join(each.modes)}, for at most {each.gate.timeout:g} s" if each.modes else "not asked"
        )
        yield f"gate {each.gate.label}: {each.evidence}; {after}"


def _times(dossier: Dossier, verdict: Verdict) -> tuple[str, str, str]:
    if not dossier.link_rate:
        return "?", "?", size(verdict.bytes)
    low, high = verdict.downtime_ms
    return f"{verdict.total_seconds:.0f} s", f"{_span(low)} to {_span(high)}" if high else "-", size(verdict.bytes)


def _span(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.0f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def print_finding(finding: Finding) -> None:
    """A line, and its fix."""
    mark, style = MARKS[finding.severity]
    modes = f" [{', '.join(mode.value for mode in finding.modes)}]" if finding.modes else ""
    line = console.text(f"{mark} {finding.code} ", style) + console.text(f"{finding.what}{modes}")
    console.out().print(line, soft_wrap=True)
    if finding.fix:
        console.out().print(console.text(f"    fix: {finding.fix}", "cyan"), soft_wrap=True)
