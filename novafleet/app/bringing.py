"""Files that several VMs of one run stand on: a base image, a template of linked clones, a kernel, an installer's CD.
The first VM that goes to a host brings them, the others wait for it and find them there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from novafleet.capability.migration.build import MADE_LATER
from novafleet.model.migration import Move

Place = tuple[str, str]
"""A host and a path on it."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What lies at a place: where it came from, and its digest where that is known."""

    source: Place
    sha256: str

    def is_same(self, other: Brought) -> bool:
        """Is it the other's content?"""
        return self.source == other.source or (self.sha256 != "" and self.sha256 == other.sha256)


class Bringing:
    """Of one run: who brings what where, and what has been brought."""

    def __init__(self) -> None:
        self._locks: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._there: dict[Place, Brought] = {}

    @asynccontextmanager
    async def turn(self, move: Move) -> AsyncIterator[Move]:
        """The move once nobody else brings any of its files, without those that others brought. It is this VM's turn
        until the block ends: what it brings is taken back if it fails."""
        brings = _brings(move)
        async with AsyncExitStack() as stack:
            for place in sorted(brings):
                await stack.enter_async_context(self._locks[place])
            there = {
                path
                for (host, path), thing in brings.items()
                if (found := self._there.get((host, path))) is not None and found.is_same(thing)
            }
            yield replace(
                move,
                files=tuple(replace(each, present=True) if each.path in there else each for each in move.files),
                disks=tuple(replace(each, shared=True) if each.path in there else each for each in move.disks),
            )

    async def settled(self, host: str) -> None:
        """Nothing is being brought to a host: what lies there now may be looked at."""
        for place in [each for each in self._locks if each[0] == host]:
            async with self._locks[place]:
                pass

    def arrived(self, move: Move) -> None:
        """The VM is there, and with it what it brought."""
        self._there.update(_brings(move))


def _brings(move: Move) -> Mapping[Place, Brought]:
    files = [each for each in move.files if not (each.shared or each.present or each.kind in MADE_LATER)]
    disks = [each for each in move.disks if each.readonly and not each.shared]
    told = [(each.path, each.source, each.sha256) for each in files] + [(each.path, each.source, "") for each in disks]
    return {(move.destination, path): Brought((move.source, source), digest) for path, source, digest in told}
