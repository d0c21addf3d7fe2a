"""A repository in a directory with snapshots of one VM."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from novafleet.app.wiring import SystemClock
from novafleet.model.backup import Blob, Consistency, DiskCopy, Snapshot
from novafleet.objectstore.open import open_store
from novafleet.repository import Backup, KeySource, Repository

MIB = 1 << 20
SIZE = 9 * MIB + 512
AT = 1_763_000_000.0


def disk_content(seed: int = 1) -> bytes:
    """Data, a hole, data, an odd end."""
    generator = random.Random(seed)
    return generator.randbytes(2 * MIB) + bytes(4 * MIB) + generator.randbytes(SIZE - 6 * MIB)


def key_of(folder: Path) -> KeySource:
    """A key file."""
    path = folder / "key"
    path.write_bytes(b"k" * 64)
    return KeySource(file=path)


async def _disk(backup: Backup, name: str, content: bytes, **fields: str) -> DiskCopy:
    writer = await backup.disk(len(content), None)
    for at in range(0, len(content), MIB):
        piece = content[at : at + MIB]
        if any(piece):
            await writer.data(at, piece)
        else:
            await writer.zero(at, len(piece))
    root, stored = await writer.finish(len(content))
    return DiskCopy(name, fields.get("target", name), len(content), root, bytes_stored=stored)


async def stored(
    folder: Path, disks: Mapping[str, bytes], files: Mapping[str, bytes] | None = None, *, at: float = AT
) -> tuple[str, KeySource, Snapshot]:
    """URL, key and snapshot of a repository in ``folder/repo``; made when it is not there."""
    url, key = str(folder / "repo"), key_of(folder)
    store = open_store(url)
    fresh = not (folder / "repo").exists()
    repository = await (Repository.create(store, key, at=at) if fresh else Repository.open(store, key))
    async with repository.backup(SystemClock()) as backup:
        copies = {name: await _disk(backup, name, content) for name, content in disks.items()}
        blobs: dict[str, Blob] = {name: await backup.blob(data) for name, data in (files or {}).items()}
        frame = Snapshot("", "web", "web", "2b1c0e6e-0000-4000-8000-000000000001", "kvm1", at, Consistency.CRASH)
        snapshot = await backup.commit(
            Snapshot("", frame.vm, frame.domain, frame.uuid, frame.host, at, frame.consistency, copies, blobs)
        )
    await store.close()
    return url, key, snapshot
