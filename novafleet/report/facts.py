"""What collectors told: a tree of values for people, documents for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings

if TYPE_CHECKING:
    from novafleet.app.facts import Told
    from novafleet.observe.registry import Description


def show(told: Sequence[Told], form: str) -> None:
    """Lines of ``collector.key value`` by host, or ``{hosts: [{host, outcome, facts: {COLLECTOR: {…}}, error}]}``."""
    if form != "table":
        console.document({"hosts": encode(told)}, form)
        return
    for each in told:
        console.out().print(console.text(each.host, "bold"))
        if each.error is not None:
            findings.show_finding(each.error)
        grid = console.table("", "FACT", "VALUE")
        for key, value in _flat(each.facts):
            grid.add_row(console.text(key), console.text(_brief(value)))
        if each.facts:
            console.out().print(grid)


def show_collectors(described: Sequence[Description], form: str) -> None:
    """A table, or ``{collectors: [{name, description, cost, root, timeout}]}``."""
    if form != "table":
        console.document({"collectors": encode(described)}, form)
        return
    grid = console.table("", "COLLECTOR", "COST", "ROOT", "WHAT")
    for each in described:
        grid.add_row(*map(console.text, (each.name, each.cost, "yes" if each.root else "", each.description)))
    console.out().print(grid)


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, each in value.items() for pair in _flat(each, f"{path}.{key}" if path else str(key))]
    return [(path, value)]


def _brief(value: Any) -> str:
    """One line; a domain's definition or a long list is for ``-o json``."""
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping | list | tuple) for each in value):
        return f"{len(value)} of them (-o json)"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    told = str(value)
    return f"{len(told)} characters (-o json)" if "\n" in told or len(told) > 200 else told
