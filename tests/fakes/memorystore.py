"""An ``ObjectStore`` in memory that can be made to fail, to stop like a killed process, and to lie."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

from novafleet.errors import MissingObjectError, StoreError
from novafleet.model.backup import StoredObject


class StoppedError(Exception):
    """The process was killed: on purpose no NovaFleetError."""


class MemoryStore:
    """``left`` counts down with every changing operation: at 0 the store stops for good, as ``kill -9`` would.

    ``torn`` leaves the object of that last operation in place, its answer lost.
    """

    url = "memory:"
    exclusive = True

    def __init__(self, objects: dict[str, bytes] | None = None, *, left: int = -1, torn: bool = False) -> None:
        self.objects = dict(objects or {})
        self.dates: dict[str, float] = {}
        self.changes = 0
        self.left = left
        self.torn = torn
        self.log: list[str] = []
        self._clock = itertools.count(1)

    async def put(self, key: str, data: bytes | memoryview) -> None:
        await self._change("put", key, lambda: self._set(key, bytes(data)))

    async def create(self, key: str, data: bytes) -> bool:
        won: list[bool] = []
        await self._change("create", key, lambda: won.append(self._claim(key, data)))
        return won[0]

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        await asyncio.sleep(0)
        content = self._find(key)
        return content[offset:] if length is None else content[offset : offset + length]

    async def stat(self, key: str) -> StoredObject:
        return StoredObject(key, len(self._find(key)), self.dates.get(key, 0.0))

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        if prefix and not prefix.endswith("/"):
            raise StoreError("a prefix ends with /")
        for key in [each for each in self.objects if each.startswith(prefix)]:
            yield StoredObject(key, len(self.objects[key]), self.dates.get(key, 0.0))

    async def delete(self, key: str) -> None:
        await self._change("delete", key, lambda: self.objects.pop(key, None))

    async def close(self) -> None:
        return

    def _find(self, key: str) -> bytes:
        if key not in self.objects:
            raise MissingObjectError("no such object", where=f"{self.url}{key}")
        return self.objects[key]

    def _claim(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self._set(key, data)
        return True

    def _set_new(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self._set(key, data)
        return True

    def _set(self, key: str, data: bytes) -> None:
        self.objects[key] = bytes(data)
        self.dates[key] = float(next(self._clock))

    async def _change(self, verb: str, key: str, change: Callable[[], object]) -> None:
        await asyncio.sleep(0)
        if self.left == 0:
            raise StoppedError(key)
        self.left -= 1
        if self.left == 0:
            if self.torn:
                change()
            raise StoppedError(key)
        self.changes += 1
        self.log.append(f"{verb} {key}")
        change()
