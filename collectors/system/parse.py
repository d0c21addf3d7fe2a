"""``key value`` lines to a mapping; a key that repeats (``bridge``) becomes a list."""

from __future__ import annotations

REPEATED = frozenset({"bridge"})


def parse(text: str, mark: str = "@@") -> dict[str, object]:  # noqa: ARG001 - every parser takes the mark
    """Facts of the host itself: strings by name, and ``bridge`` as a list of names."""
    facts: dict[str, object] = {"bridge": []}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if not key:
            continue
        if key in REPEATED:
            repeated = facts[key]
            assert isinstance(repeated, list)
            repeated.append(value)
        else:
            facts[key] = value
    return facts
