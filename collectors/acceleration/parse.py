"""The verdict of the probe guest."""

from __future__ import annotations

VERDICTS = frozenset({"works", "fails", "absent", "untried"})


def parse(text: str, mark: str = "@@") -> dict[str, object]:  # noqa: ARG001 - every parser takes the mark
    """``{kvm: works|fails|absent|untried, detail: text}``; an answer that is none of these counts as untried."""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        verdict, _, detail = rest.partition(" ")
        if word == "kvm" and verdict in VERDICTS:
            return {"kvm": verdict, "detail": detail}
    return {"kvm": "untried", "detail": text.strip()[:300]}
