"""The newest snapshot of each domain, without reading the whole repository for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.model.backup import Snapshot
from novafleet.repository.repository import Repository

log = logging.getLogger(__name__)

AT_ONCE = 16


class History:
    """One for a run: snapshots are read once, newest first, and no further back than somebody asks."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._read: dict[str, Snapshot | None] = {}
        self._reading = asyncio.Lock()

    async def newest(self, uuid: str) -> Snapshot | None:
        """The newest snapshot of a domain as of now. Damaged ones are passed over: the backup then only costs more."""
        async with self._reading:
            names = sorted(await self._repository.snapshot_ids(), reverse=True)
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                await self._fetch([name for name in some if name not in self._read])
                found = (snapshot for name in some if (snapshot := self._read[name]) is not None)
                if mine := next((each for each in found if each.uuid == uuid), None):
                    return mine
        return None

    async def _fetch(self, names: Sequence[str]) -> None:
        snapshots = await asyncio.gather(*(self._snapshot(name) for name in names))
        self._read.update(zip(names, snapshots, strict=True))

    async def _snapshot(self, name: str) -> Snapshot | None:
        try:
            return await self._repository.read_snapshot(name)
        except MissingObjectError:  # forgotten since it was listed
            return None
        except RepositoryError as error:
            log.warning("%s", error)
            return None
