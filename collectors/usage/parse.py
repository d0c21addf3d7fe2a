"""Two samples of the ticks each QEMU ran to CPUs used by domain. Names are the guests' own: frames carry the mark."""

from __future__ import annotations

import re

_GUEST = re.compile(r"^([0-9]{1,19}) (.+)$", re.MULTILINE)
TICKS = "100"
"""A second, where the host does not say (CLK_TCK)."""
Sample = tuple[float, dict[str, int]]


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{cpu: "VENDOR-FAMILY-MODEL-FLAGS", guests: {domain: CPUs used}, at: seconds since the epoch}``."""
    head, *frames = text.split(f"{mark} at ")
    about = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
    words = [about.get(name, "").strip() for name in ("vendor", "family", "model", "flags")]
    ticks = about.get("ticks", "").strip()
    samples = [sample for sample in map(_sample, frames) if sample is not None]
    used = _used(*samples, int(ticks if re.fullmatch("[1-9][0-9]{0,5}", ticks) else TICKS)) if len(samples) == 2 else {}
    return {"cpu": "-".join(words) if all(words) else "", "guests": used, "at": samples[-1][0] if samples else 0.0}


def _sample(frame: str) -> Sample | None:
    first, _, rest = frame.partition("\n")
    if not re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,9}", first):
        return None
    return float(first), {name: int(spent) for spent, name in _GUEST.findall(rest)}


def _used(first: Sample, second: Sample, ticks: int) -> dict[str, float]:
    seconds = second[0] - first[0]
    if seconds <= 0:
        return {}
    return {
        name: round(max(0, spent - first[1][name]) / ticks / seconds, 4)
        for name, spent in second[1].items()
        if name in first[1]
    }
