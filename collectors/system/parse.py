"""``key value`` lines to a mapping; keys that repeat (``bridge``, ``subnet``) become lists."""

from __future__ import annotations

REPEATED = frozenset({"bridge", "subnet"})


def parse(text: str, mark: str = "@@") -> dict[str, object]:  # noqa: ARG001 - every parser takes the mark
    """Facts of the host itself: strings by name, lists of ``bridge`` names and of ``subnet`` addresses."""
    facts: dict[str, object] = {"bridge": [], "subnet": []}
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
