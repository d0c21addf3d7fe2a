"""Pressure stall information (https://docs.kernel.org/accounting/psi.html) and the load averages."""

from __future__ import annotations

RESOURCES = frozenset({"cpu", "memory", "io"})


def parse(text: str, mark: str = "@@") -> dict[str, object]:  # noqa: ARG001 - every parser takes the mark
    """``{cpu: {some: {avg10, avg60, avg300}, full: …}, memory: …, io: …, load: [1, 5, 15 minutes]}``: percent of time
    in which some (all) tasks waited. A kernel without PSI has no such keys."""
    facts: dict[str, object] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and words[0] == "load":
            facts["load"] = [number for number in map(_number, words[1:4]) if number is not None]
        elif len(words) > 2 and words[0] in RESOURCES and words[1] in {"some", "full"}:
            kinds = facts.setdefault(words[0], {})
            assert isinstance(kinds, dict)
            kinds[words[1]] = _averages(words[2:])
    return facts


def _averages(words: list[str]) -> dict[str, float]:
    pairs = (word.partition("=") for word in words)
    read = {name: _number(value) for name, _, value in pairs if name.startswith("avg")}
    return {name: value for name, value in read.items() if value is not None}


def _number(word: str) -> float | None:
    whole, _, part = word.partition(".")
    return float(word) if whole.isdecimal() and len(word) < 16 and (part.isdecimal() or "." not in word) else None
