"""The verdict of the probe guest."""

from __future__ import annotations


def parse(text: str, mark: str = "@@") -> dict[str, object]:  # noqa: ARG001 - every parser takes the mark
    """``{kvm: works|fails|absent, detail: text}``."""
    for line in text.splitlines():
        if line.startswith("kvm "):
            _, verdict, detail = (*line.split(" ", 2), "")[:3]
            return {"kvm": verdict, "detail": detail}
    return {"kvm": "fails", "detail": text.strip()[:300]}
