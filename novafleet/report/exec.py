"""What a command said on many hosts: equal answers once."""

from __future__ import annotations

from collections.abc import Sequence

from novafleet.app.exec import HostOutcome, HostResult
from novafleet.model.encode import encode
from novafleet.report import console, findings
from novafleet.transport.fold import fold

STYLES = {
    HostOutcome.OK: "green",
    HostOutcome.FAILED: "red",
    HostOutcome.ERROR: "red",
    HostOutcome.UNREACHABLE: "yellow",
}


def show(results: Sequence[HostResult], form: str) -> None:
    """Folded text: standard output on ours, standard error on ours; or ``{results: […]}``, one entry per host."""
    if form != "table":
        console.document({"results": encode(results)}, form)
        return
    for group in fold([result for result in results if result.error is None], _said):
        _show_group(group)
    for result in results:
        if result.error is not None:
            findings.show_finding(result.error)
    _show_total(results)


def _said(result: HostResult) -> tuple[object, ...]:
    return (result.status, result.stdout, result.stderr)


def _show_group(group: Sequence[HostResult]) -> None:
    first = group[0]
    names = ",".join(result.host for result in group)
    ended = "" if first.status == 0 else f" (status {first.status})"
    heading = console.text(names + ended, STYLES[first.outcome])
    lines = first.stdout.rstrip("\n")
    if "\n" not in lines:
        console.out().print(heading + console.text(f": {lines}" if lines else ":"), soft_wrap=True)
    else:
        console.out().print(heading + console.text(":"), soft_wrap=True)
        console.out().print(console.text(lines), soft_wrap=True)
    if first.stderr:
        console.err().print(console.text(f"{names}: ", "dim") + console.text(first.stderr.rstrip("\n")), soft_wrap=True)


def _show_total(results: Sequence[HostResult]) -> None:
    if all(result.outcome is HostOutcome.OK for result in results):
        return
    counts = [(outcome, sum(result.outcome is outcome for result in results)) for outcome in HostOutcome]
    console.err().print(console.text(", ".join(f"{count} {outcome}" for outcome, count in counts if count), "bold"))
