"""A repository of 100,000 packs (3 TB, were they not empty) and the snapshots of a year, to list."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.objectstore.directory import DirectoryStore
from novafleet.repository import KeySource, Repository, catalogue, index, keys, lease, pack
from novafleet.repository.compress import Codec
from novafleet.repository.index import Packed
from novafleet.repository.pack import Entry
from novafleet.repository.seal import Kind
from tests.bench.program import SMALL

PACKS = 1_000 if SMALL else 100_000
SNAPSHOTS = 100 if SMALL else 1_000
CHUNKS = 32
A_SEGMENT = 512
"""Packs an index segment lists."""
MIB = 1 << 20


@dataclass(frozen=True)
class Big:
    """Where it is: ``home/repository``, ``home/key``."""

    home: Path
    packs: int
    snapshots: int


def make(folder: Path) -> Big:
    """Objects as a year of backups leaves them; nobody will read a chunk."""
    home = folder / "big"
    home.mkdir()
    keys.new_key_file(home / "key")
    asyncio.run(_fill(home))
    return Big(home, PACKS, SNAPSHOTS)


async def _fill(home: Path) -> None:
    store = DirectoryStore(home / "repository")
    opened = await Repository.create(store, KeySource(file=home / "key"), at=time.time())
    for number in range(PACKS // A_SEGMENT):
        listed = [_pack() for _ in range(A_SEGMENT)]
        await store.put(f"{index.PREFIX}{lease.new_id(0)}-{number:04}", index.encode(listed, opened.keyring))
        await asyncio.to_thread(_files, home / "repository", listed)
    for number in range(SNAPSHOTS):
        made = _snapshot(number)
        await store.put(catalogue.PREFIX + made.id, catalogue.seal(made, opened.keyring))


def _pack() -> Packed:
    chunks = [Entry(os.urandom(32), Kind.DATA, Codec.RAW, 104 + at * MIB, MIB, MIB - 16) for at in range(CHUNKS)]
    return Packed(os.urandom(32).hex(), os.urandom(32), tuple(chunks))


def _files(root: Path, listed: list[Packed]) -> None:
    for each in listed:
        path = root / pack.key_of(each.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)


def _snapshot(number: int) -> Snapshot:
    at = time.time() - 365 * 86400 + number * 31_536
    disks = {name: DiskCopy(name, name, 40 << 30, os.urandom(32).hex(), bytes_stored=MIB) for name in ("vda", "vdb")}
    vm = f"vm{number % 25}"
    return Snapshot(lease.new_id(at), vm, vm, f"{number % 25:032x}", "kvm1", at, Consistency.FS, disks)
