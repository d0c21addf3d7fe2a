"""Equal things said by several hosts, said once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def fold(results: Iterable[T], said: Callable[[T], Hashable]) -> tuple[tuple[T, ...], ...]:
    """Groups of results that say the same, largest first, each in the order given."""
    groups: dict[Hashable, list[T]] = {}
    for result in results:
        groups.setdefault(said(result), []).append(result)
    return tuple(sorted((tuple(group) for group in groups.values()), key=len, reverse=True))
