"""Which of a plan's moves may begin next: after those that make room for it, within the places of hosts and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from novafleet.placement.problem import PlannedMove

PER_HOST = 2
PER_LINK = 2


class Convoy:
    """The state of a plan under way; moves are their indexes.

    ``per_host`` moves at once have one end on that host (default 2), ``per_link`` go from one host to one other.
    ``may_begin`` says whether its time window is open.
    """

    def __init__(
        self,
        moves: Sequence[PlannedMove],
        may_begin: Callable[[int], bool],
        per_host: Mapping[str, int] | None = None,
        per_link: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self._moves = moves
        self._may_begin = may_begin
        self._per_host, self._per_link = per_host or {}, per_link or {}
        self._ends: Counter[str] = Counter()
        self._links: Counter[tuple[str, str]] = Counter()
        self._done: set[int] = set()
        self._open = list(range(len(moves)))
        self.doomed: list[int] = []
        """Moves that will not begin because one that makes room for them failed."""

    @property
    def waiting(self) -> tuple[int, ...]:
        """Moves that have not begun and still may."""
        return tuple(self._open)

    def next(self) -> int | None:
        """Begin the first move that may; it keeps its places until it has ended."""
        found = next((each for each in self._open if self._ready(each)), None)
        if found is not None:
            self._open.remove(found)
            self._count(self._moves[found], 1)
        return found

    def ended(self, index: int, *, ok: bool) -> None:
        """Give its places back."""
        self._count(self._moves[index], -1)
        if ok:
            self._done.add(index)
            return
        lost = {index}
        for each in tuple(self._open):
            if lost & set(self._moves[each].after):
                lost.add(each)
                self._open.remove(each)
                self.doomed.append(each)

    def _ready(self, index: int) -> bool:
        move = self._moves[index]
        link = (move.source, move.destination)
        return (
            set(move.after) <= self._done
            and all(self._ends[host] < self._per_host.get(host, PER_HOST) for host in link)
            and self._links[link] < self._per_link.get(link, PER_LINK)
            and self._may_begin(index)
        )

    def _count(self, move: PlannedMove, by: int) -> None:
        link = (move.source, move.destination)
        self._links[link] += by
        for host in link:
            self._ends[host] += by
