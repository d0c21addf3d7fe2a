"""Findings, grouped by host."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from novafleet.model.encode import encode
from novafleet.model.finding import Finding, Severity
from novafleet.report import console

MARKS = {Severity.OK: ("✓", "green"), Severity.WARNING: ("!", "yellow"), Severity.ERROR: ("✗", "red")}


def show(findings: Sequence[Finding], form: str) -> None:
    """A list per host, or ``{findings: […]}``."""
    if form != "table":
        console.document({"findings": encode(findings)}, form)
        return
    for host, group in groupby(findings, key=lambda finding: finding.host):
        console.out().print(console.text(host, "bold"))
        for finding in group:
            mark, style = MARKS[finding.severity]
            line = console.text(f"  {mark} ", style) + console.text(f"{finding.check:8} ", "dim")
            console.out().print(line + console.text(finding.what), soft_wrap=True)
            if finding.fix:
                console.out().print(console.text(f"             fix: {finding.fix}", "cyan"), soft_wrap=True)
