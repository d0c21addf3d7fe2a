"""What is known about snapshots beside them: proofs that one restores, and holds that keep one.

Both are sealed and bound to their key, so that nobody without the key can say that something was proven.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.model.encode import decode, encode
from novafleet.ports import Clock
from novafleet.repository import catalogue
from novafleet.repository.lease import new_id, refuse_replica
from novafleet.repository.repository import Repository
from novafleet.repository.seal import Kind, damaged, newer

PROOFS = "proofs/"
HOLDS = "holds/"
PROOF, HOLD = b"NFPROF", b"NFHOLD"
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Proof:
    """Something tried with a snapshot: ``kind`` is ``verify``, ``drill`` or ``restore``; ``at`` by the controller's
    clock, ``seconds`` how long it took (a drill's RTO), ``facts`` what was measured."""

    snapshot: str
    kind: str
    at: float
    ok: bool
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hold:
    """A snapshot that no policy forgets, and why."""

    snapshot: str
    at: float
    reason: str = ""


async def record_proof(repository: Repository, clock: Clock, proof: Proof) -> str:
    """Keep the outcome of a drill, restore or verification; the object's key."""
    key = f"{PROOFS}{proof.snapshot}-{new_id(clock.now())}"
    if not await repository.store.create(key, _seal(repository, PROOF, key, proof)):
        raise RepositoryError("a proof of this name exists already", where=key)
    return key


async def proofs(repository: Repository, snapshot: str = "") -> tuple[Proof, ...]:
    """All proofs, or those of one snapshot; oldest first. Raises RepositoryError NF-REPO-010 for a damaged one."""
    found: list[Proof] = []
    for each in (await _proofs(repository, snapshot)).values():
        if isinstance(each, RepositoryError):
            raise each
        found.append(each)
    return tuple(sorted(found, key=lambda each: each.at))


async def verified(repository: Repository) -> frozenset[str]:
    """The snapshots that were proven. A proof that cannot be read is one all the same: it protects."""
    found = await _proofs(repository, "")
    good = (key for key, each in found.items() if isinstance(each, RepositoryError) or each.ok)
    return frozenset(key.removeprefix(PROOFS).partition("-")[0] for key in good)


async def _proofs(repository: Repository, snapshot: str) -> dict[str, Proof | RepositoryError]:
    """By key."""
    listed = [each.key async for each in repository.store.list(PROOFS)]
    wanted = [key for key in listed if key.removeprefix(PROOFS).startswith(snapshot)]
    slots = asyncio.Semaphore(AT_ONCE)

    async def read(key: str) -> Proof | RepositoryError | None:
        async with slots:
            try:
                read_back: Proof | None = await _read(repository, key, PROOF, Proof)
            except RepositoryError as exc:
                return exc
            return read_back

    found = await asyncio.gather(*map(read, wanted))
    return {key: each for key, each in zip(wanted, found, strict=True) if each is not None}


async def hold(repository: Repository, held: Hold) -> None:
    """Keep a snapshot whatever a policy says; a second hold replaces the first. Raises RepositoryError NF-REPO-036 in a
    replica, as ``release`` does."""
    await refuse_replica(repository.store)
    key = HOLDS + held.snapshot
    await repository.store.put(key, _seal(repository, HOLD, key, held))


async def release(repository: Repository, snapshot: str) -> None:
    """End a hold; absent is fine."""
    await refuse_replica(repository.store)
    await repository.store.delete(HOLDS + snapshot)


async def holds(repository: Repository) -> Mapping[str, Hold]:
    """All holds by snapshot id. One that cannot be read holds all the same."""
    found: dict[str, Hold] = {}
    for key in sorted([each.key async for each in repository.store.list(HOLDS)]):
        name = key.removeprefix(HOLDS)
        if not catalogue.is_id(name):
            continue
        try:
            read = await _read(repository, key, HOLD, Hold)
        except RepositoryError as exc:
            read = Hold(name, 0.0, f"(its reason cannot be read: {exc.cause})")
        if read is not None:
            found[name] = read
    return found


async def forget_records(repository: Repository, snapshots: frozenset[str]) -> None:
    """Drop proofs of snapshots that are neither there nor in the trash."""
    for key in sorted([each.key async for each in repository.store.list(PROOFS)]):
        if key.removeprefix(PROOFS).partition("-")[0] not in snapshots:
            await repository.store.delete(key)


def _seal(repository: Repository, magic: bytes, key: str, record: Proof | Hold) -> bytes:
    content = json.dumps(encode(record), sort_keys=True).encode()
    return repository.keyring.seal(magic, Kind.RECORD, content, _name(repository, key))


async def _read(repository: Repository, key: str, magic: bytes, cls: type[Any]) -> Any:
    where = f"{repository.store.url}: {key}"
    try:
        sealed = await repository.store.get(key)
    except MissingObjectError:
        return None
    content = repository.keyring.unseal(magic, Kind.RECORD, sealed, where, _name(repository, key))
    try:
        record = decode(cls, json.loads(content))
    except (ValueError, TypeError, KeyError) as exc:
        raise newer(where, str(exc)) from exc
    if record.snapshot not in key:
        raise damaged(where, f"it is about snapshot {record.snapshot}")
    return record


def _name(repository: Repository, key: str) -> bytes:
    return repository.keyring.chunk_id(Kind.RECORD, key.encode())
