"""Two samples of ``virsh domstats`` to CPUs used by domain. Names are the guests' own: frames carry the mark."""

from __future__ import annotations

import re

_DOMAIN = re.compile(r"^Domain: '(.*)'$")
_TIME = re.compile(r"^  cpu\.time=([0-9]{1,19})$")
Sample = tuple[float, dict[str, int]]


def parse(text: str, mark: str = "@@") -> dict[str, object]:
    """``{cpu: "VENDOR-FAMILY-MODEL-FLAGS", guests: {domain: CPUs used}, at: seconds since the epoch}``."""
    head, *frames = text.split(f"{mark} at ")
    about = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
    words = [about.get(name, "").strip() for name in ("vendor", "family", "model", "flags")]
    samples = [sample for sample in map(_sample, frames) if sample is not None]
    used = _used(*samples) if len(samples) == 2 else {}
    return {"cpu": "-".join(words) if all(words) else "", "guests": used, "at": samples[-1][0] if samples else 0.0}


def _sample(frame: str) -> Sample | None:
    first, _, rest = frame.partition("\n")
    if not re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,9}", first):
        return None
    times: dict[str, int] = {}
    name = ""
    for line in rest.splitlines():
        if found := _DOMAIN.match(line):
            name = found[1]
        elif name and (spent := _TIME.match(line)):
            times[name] = int(spent[1])
    return float(first), times


def _used(first: Sample, second: Sample) -> dict[str, float]:
    seconds = second[0] - first[0]
    if seconds <= 0:
        return {}
    return {
        name: round(max(0, spent - first[1][name]) / 1e9 / seconds, 4)
        for name, spent in second[1].items()
        if name in first[1]
    }
