"""Errors as findings: code, place, cause, and the line that fixes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from novafleet.errors import ConfigErrors, NovaFleetError
from novafleet.report import console


def each(error: NovaFleetError) -> Iterator[NovaFleetError]:
    """The error itself, or every finding of a collection."""
    if isinstance(error, ConfigErrors):
        yield from error.errors
    else:
        yield error


def show(errors: Sequence[NovaFleetError], form: str = "table") -> None:
    """Print errors: to stderr for people, and as one document on stdout when one was asked for."""
    found = [finding.finding() for error in errors for finding in each(error)]
    for finding in found:
        show_finding(finding)
    if form != "table":
        console.document({"errors": found}, form)


def show_finding(finding: Mapping[str, Any]) -> None:
    terminal = console.err()
    line = console.text(f"error[{finding['code']}]", "bold red")
    place = f" {finding['where']}:" if finding["where"] else ""
    terminal.print(line + console.text(f"{place} {finding['what']}"), soft_wrap=True)
    if finding["cause"]:
        terminal.print(console.text(f"  cause: {finding['cause']}"), soft_wrap=True)
    for hint in finding["hints"]:
        terminal.print(console.text("  hint: ", "bold cyan") + console.text(hint), soft_wrap=True)
