"""The critical path: the longest chain of steps to wait for, planned (priorities) and as it really was (the report)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from novafleet.model.plan import Step
from novafleet.model.run import NodeResult, NodeState

RAN = (NodeState.DONE, NodeState.FAILED)
LISTED = 5
"""Lines of the report; what they leave out is shorter than what they show."""

Segment = tuple[str, str, float]


def priorities(steps: Mapping[str, Step], order: Sequence[str]) -> Mapping[str, float]:
    """Seconds that may pass from the start of a step to the end of its longest chain, judged by timeouts.

    ``order`` is topological: a step comes after those it waits for.
    """
    remaining = {name: step.timeout for name, step in steps.items()}
    for name in reversed(order):
        for before in steps[name].after:
            if before in remaining:
                remaining[before] = max(remaining[before], steps[before].timeout + remaining[name])
    return remaining


def critical_path(steps: Sequence[Step], results: Sequence[NodeResult]) -> tuple[Segment, ...]:
    """``(label, resource, seconds)`` of each step on the chain that made the run as long as it was, first to last.

    The chain ends with the step that ended last; before each step comes, of those it waited for, the one that ended
    last. A step's seconds run from that one's end, so they include the wait for a free slot and add up to the run.
    """
    ran = {result.node: result for result in results if result.state in RAN}
    after = {step.id: step.after for step in steps}
    chain = list(_back(ran, after))[::-1]
    starts = [0.0, *(result.ended for result in chain)]
    return tuple((_label(each), each.resource, each.ended - start) for each, start in zip(chain, starts, strict=False))


def _back(ran: Mapping[str, NodeResult], after: Mapping[str, Sequence[str]]) -> Iterator[NodeResult]:
    names: Sequence[str] = tuple(ran)
    while found := [ran[name] for name in names if name in ran]:
        last = max(found, key=lambda result: result.ended)
        yield last
        names = after[last.node]


def _label(result: NodeResult) -> str:
    return result.label or result.node.rpartition("/")[2]


def report(path: Sequence[Segment]) -> tuple[str, ...]:
    """``critical path 12.4 s: db 8.2 s -> web 4.2 s``, then the longest steps: ``db: cloud-init 7.1 s of 12.4 s``."""
    if not path:
        return ()
    total = sum(seconds for _, _, seconds in path)
    hops = [
        f"{_name(resource)} {sum(seconds for _, _, seconds in segments):.1f} s"
        for resource, segments in groupby(path, key=lambda segment: segment[1])
    ]
    longest = sorted(path, key=lambda segment: -segment[2])[:LISTED]
    lines = (f"{_name(where)}: {label} {seconds:.1f} s of {total:.1f} s" for label, where, seconds in longest)
    return (f"critical path {total:.1f} s: {' -> '.join(hops)}", *lines)


def _name(resource: str) -> str:
    return resource.partition(".")[2] or resource
