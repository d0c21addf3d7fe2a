"""The log of garbage collections: small objects that are only ever created, so that all collectors and writers agree.

``gc/lists/EPOCH-NONCE`` names the packs a collector wants to delete. It counts once ``gc/log/EPOCH`` (create-only:
one winner) names that nonce, so that epochs are numbered in the order in which lists began to count.
``gc/decided/EPOCH`` (create-only) says which of these packs are spared after all; from then on the others are doomed,
whoever deletes them. The list itself is removed at the very end; log and decisions stay.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.model.backup import StoredObject
from novafleet.ports import ObjectStore

LOG = "gc/log/"
LISTS = "gc/lists/"
DECIDED = "gc/decided/"
DIGITS = 10


@dataclass(frozen=True, slots=True)
class CondemnList:
    """Packs one collector found unneeded, and the trash it saw; ``published`` is seconds by the store's clock.

    ``spared`` is None until it was decided.
    """

    epoch: int
    nonce: str
    published: float
    packs: frozenset[str]
    trash: tuple[str, ...]
    spared: frozenset[str] | None = None

    @property
    def doomed(self) -> frozenset[str]:
        """Packs that will be deleted for certain; none before the decision."""
        return frozenset() if self.spared is None else self.packs - self.spared

    @property
    def avoided(self) -> frozenset[str]:
        """Packs nothing new may build upon."""
        return self.packs - (self.spared or frozenset())


async def latest(store: ObjectStore) -> int:
    """The newest epoch; 0 before the first collection."""
    return max([number_of(each.key, LOG) or 0 async for each in store.list(LOG)], default=0)


async def outstanding(store: ObjectStore) -> tuple[CondemnList, ...]:
    """Lists that count and are not finished yet, by epoch."""
    objects = [each async for each in store.list(LISTS)]
    found = [await _read(store, each) for each in sorted(objects, key=lambda each: each.key)]
    return tuple(each for each in found if each is not None)


def avoided(lists: Iterable[CondemnList]) -> frozenset[str]:
    """Packs of any of them that nothing new may build upon."""
    return frozenset[str]().union(*(each.avoided for each in lists))


async def publish(store: ObjectStore, epoch: int, packs: Iterable[str], trash: Sequence[str]) -> bool:
    """Make a list count as this epoch; False when another collector was first."""
    nonce = secrets.token_hex(8)
    body = {"packs": sorted(packs), "trash": list(trash)}
    await store.put(_list_key(epoch, nonce), json.dumps(body).encode())
    won = await store.create(f"{LOG}{epoch:0{DIGITS}}", json.dumps({"list": nonce}).encode())
    if not won:
        await store.delete(_list_key(epoch, nonce))
    return won


async def decide(store: ObjectStore, condemned: CondemnList, spared: Iterable[str]) -> frozenset[str]:
    """Settle a list once and for all; the answer is what is spared, which another collector may have settled."""
    wanted = frozenset(spared) & condemned.packs
    body = {"spared": sorted(wanted), "by": secrets.token_hex(8)}
    if await store.create(_decision_key(condemned.epoch), json.dumps(body).encode()):
        return wanted
    settled = await _decision(store, condemned.epoch)
    assert settled is not None
    return settled


async def finish(store: ObjectStore, condemned: CondemnList) -> None:
    """Its packs are gone and no index names them: forget the list."""
    await store.delete(_list_key(condemned.epoch, condemned.nonce))


async def stillborn(store: ObjectStore) -> tuple[str, ...]:
    """Keys of lists that lost their epoch to another, left by collectors that were killed."""
    keys = sorted([each.key async for each in store.list(LISTS)])
    return tuple([key for key in keys if await _winner(store, number_of(key, LISTS) or 0) not in (None, _nonce(key))])


async def drop_damaged(store: ObjectStore) -> tuple[str, ...]:
    """Remove lists that cannot be read, or whose decision cannot: what they condemned is garbage to be found again.

    Only while nothing else uses the repository: packs of such a list may be on their way out.
    """
    dropped = []
    for each in [found async for found in store.list(LISTS)]:
        try:
            await _read(store, each)
        except RepositoryError:
            await store.delete(each.key)
            dropped.append(each.key)
    return tuple(dropped)


def number_of(key: str, prefix: str) -> int | None:
    """The epoch in a key; None for one that is not ours."""
    digits = key.removeprefix(prefix)[:DIGITS]
    return int(digits) if len(digits) == DIGITS and digits.isascii() and digits.isdecimal() else None


async def _read(store: ObjectStore, found: StoredObject) -> CondemnList | None:
    epoch, nonce = number_of(found.key, LISTS), _nonce(found.key)
    if epoch is None or await _winner(store, epoch) != nonce:
        return None
    try:
        body = await _document(store, found.key)
    except MissingObjectError:
        return None
    spared = await _decision(store, epoch)
    return CondemnList(epoch, nonce, found.modified, _names(found.key, body, "packs"), _trash(found.key, body), spared)


async def _winner(store: ObjectStore, epoch: int) -> str | None:
    key = f"{LOG}{epoch:0{DIGITS}}"
    try:
        return str((await _document(store, key)).get("list", ""))
    except MissingObjectError:
        return None


async def _decision(store: ObjectStore, epoch: int) -> frozenset[str] | None:
    key = _decision_key(epoch)
    try:
        return _names(key, await _document(store, key), "spared")
    except MissingObjectError:
        return None


async def _document(store: ObjectStore, key: str) -> dict[str, Any]:
    content = await store.get(key)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise _damaged(key, str(exc)) from exc
    if not isinstance(body, dict):
        raise _damaged(key, "it is no JSON object")
    return body


def _names(key: str, body: dict[str, Any], field: str) -> frozenset[str]:
    return frozenset(_trash(key, body, field))


def _trash(key: str, body: dict[str, Any], field: str = "trash") -> tuple[str, ...]:
    names = body.get(field)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _damaged(key, f"'{field}' is no list of names")
    return tuple(names)


def _list_key(epoch: int, nonce: str) -> str:
    return f"{LISTS}{epoch:0{DIGITS}}-{nonce}"


def _decision_key(epoch: int) -> str:
    return f"{DECIDED}{epoch:0{DIGITS}}"


def _nonce(key: str) -> str:
    return key.rpartition("-")[2]


def _damaged(key: str, cause: str) -> RepositoryError:
    return RepositoryError(
        "a record of garbage collection is damaged",
        code="NF-REPO-030",
        where=key,
        cause=cause,
        hints=("nothing is deleted while it is: put the object back from another copy of the repository",),
    )
