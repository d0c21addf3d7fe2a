"""One line of docs/benchmarks.md, and the page made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """What NovaFleet took beside what peers took. ``target`` in words; ``met`` None where there is none to meet."""

    what: str
    ours: float
    unit: str
    target: str = ""
    met: bool | None = None
    peers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def best(self) -> tuple[str, float] | None:
        """The peer with the smallest figure."""
        return min(self.peers.items(), key=lambda item: item[1]) if self.peers else None

    @property
    def ratio(self) -> float | None:
        """How many times ours the best peer takes: above 1 we are better."""
        return self.best[1] / self.ours if self.best and self.ours else None


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark: its figures and how they came about; ``failed`` says why there are none."""

    title: str
    method: str
    figures: tuple[Figure, ...] = ()
    failed: str = ""


def page(sections: Sequence[Section], machine: Mapping[str, str]) -> str:
    """The Markdown page."""
    return "\n".join(_lines(sections, machine)) + "\n"


def _lines(sections: Sequence[Section], machine: Mapping[str, str]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench`: do not edit. NovaFleet and its peers take turns in one run; figures are medians."
    yield "Ratio: the best peer's figure over ours, above 1 NovaFleet is better. A dash under *met*: no target is set."
    yield ""
    yield "| machine | |"
    yield "|---|---|"
    yield from (f"| {name} | {text} |" for name, text in machine.items())
    for section in sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## {section.title}"
    yield ""
    yield section.method
    yield ""
    if section.failed:
        yield f"**Not measured**: {section.failed}"
        return
    yield "| what | NovaFleet | peers | ratio | target | met |"
    yield "|---|---|---|---|---|---|"
    yield from (_row(figure) for figure in section.figures)
    notes = dict.fromkeys(figure.note for figure in section.figures if figure.note)
    if notes:
        yield ""
        yield from (f"- {note}" for note in notes)


def _row(figure: Figure) -> str:
    peers = ", ".join(f"{name} {_number(value)}" for name, value in sorted(figure.peers.items(), key=lambda i: i[1]))
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else "-"
    met = {True: "yes", False: "**no**", None: "-"}[figure.met]
    ours = f"{_number(figure.ours)} {figure.unit}".strip()
    return f"| {figure.what} | {ours} | {peers or '-'} | {ratio} | {figure.target or '-'} | {met} |"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
