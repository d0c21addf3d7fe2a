"""What BLOCK_STATUS says, as the extents of ``model.backup``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from novafleet.model.backup import Extent
from novafleet.nbd.protocol import ALLOCATION, STATE_DIRTY, STATE_ZERO, Run


def merge(offset: int, length: int, contexts: Mapping[str, Sequence[Run]]) -> Iterator[Extent]:
    """Extents from ``offset`` on, up to the shortest context's end or ``length``, whichever comes first.

    Without ``base:allocation`` nothing is known to be zero; without a bitmap everything is dirty. ``contexts`` is
    not empty and every run has a length.
    """
    names = [name for name in contexts if name != ALLOCATION]
    ends = {name: list(_ends(offset, runs)) for name, runs in contexts.items()}
    stop = min(offset + length, *(bounds[-1][0] for bounds in ends.values()))
    at = dict.fromkeys(ends, 0)
    while offset < stop:
        now = {name: bounds[at[name]] for name, bounds in ends.items()}
        end = min(stop, *(bound for bound, _ in now.values()))
        zero = ALLOCATION in now and bool(now[ALLOCATION][1] & STATE_ZERO)
        dirty = not names or any(now[name][1] & STATE_DIRTY for name in names)
        yield Extent(offset, end - offset, zero, dirty)
        for name, (bound, _) in now.items():
            at[name] += bound == end
        offset = end


def join(extents: Iterator[Extent]) -> Iterator[Extent]:
    """Neighbours that say the same, as one."""
    last: Extent | None = None
    for extent in extents:
        if last and (last.end, last.zero, last.dirty) == (extent.offset, extent.zero, extent.dirty):
            last = Extent(last.offset, last.length + extent.length, last.zero, last.dirty)
            continue
        if last:
            yield last
        last = extent
    if last:
        yield last


def _ends(offset: int, runs: Sequence[Run]) -> Iterator[tuple[int, int]]:
    for run in runs:
        offset += run.length
        yield offset, run.state
