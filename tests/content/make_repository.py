"""``python -m tests.content.make_repository FOLDER``: the repository of tests/content/repository-1.

Kept to show what is in it; what is checked in was written by the first version and is never made anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.objectstore.directory import DirectoryStore
from novafleet.repository import KeySource, Repository
from novafleet.repository.lease import SEAL
from tests.unit.repository.disks import BLOCK, CELL, StillClock

BASE = Snapshot("", "db", "lab-db", "6f1c7f1e-0000-4000-8000-000000000001", "kvm1", 1_800_000_000.0, Consistency.FS)


async def make(folder: Path) -> None:
    """Two snapshots of two disks: text, random bytes, zeroes written over data, a hole, a grown disk, small files."""
    (folder / "key").write_bytes(b"the key of a repository that guards nothing: it is public\n")
    (folder / "passphrase").write_text("correct horse battery staple\n")
    store = DirectoryStore(folder / "repository")
    repository = await Repository.create(store, KeySource(file=folder / "key"), at=1.0, cell=CELL)
    await repository.add_key(KeySource(passphrase=f"file:{folder}/passphrase"), label="words", at=2.0)
    text = b"".join(b"line %d\n" % number for number in range(60_000))
    disks = {"vda": bytearray(text[: 3 * CELL // 2].ljust(3 * CELL + 512, b"\0")), "vdb": bytearray(BLOCK)}
    disks["vda"][2 * CELL : 2 * CELL + BLOCK] = random.Random(1).randbytes(BLOCK)
    first = await _back_up(repository, disks, None, {name: [(0, len(disk))] for name, disk in disks.items()})
    disks["vda"][BLOCK : 2 * BLOCK] = bytes(BLOCK)
    disks["vdb"].extend(bytes(CELL))
    disks["vdb"][CELL - 3 : CELL + 3] = b"across"
    changed = {"vda": [(BLOCK, BLOCK)], "vdb": [(CELL - 3, 6)]}
    second = await _back_up(repository, disks, first, changed)
    (folder / "repository" / "index" / f"{'0' * 26}-0000").write_bytes(SEAL)
    (folder / "repository" / "snapshots" / ("0" * 26)).write_bytes(SEAL)
    (folder / "expected.json").write_text(json.dumps({**first.facts["sha256"], **second.facts["sha256"]}, indent=1))


async def _back_up(
    repository: Repository,
    disks: dict[str, bytearray],
    parent: Snapshot | None,
    changed: dict[str, list[tuple[int, int]]],
) -> Snapshot:
    async with repository.backup(StillClock()) as backup:
        copies = {}
        for name, disk in disks.items():
            before = parent.disks[name] if parent else None
            writer = await backup.disk(len(disk), before)
            for offset, length in changed[name]:
                await writer.data(offset, bytes(disk[offset : offset + length]))
            root, stored = await writer.finish(len(disk))
            copies[name] = DiskCopy(name, name, len(disk), root, bytes_stored=stored)
        files = {"domain.xml": await backup.blob(b"<domain/>\n"), "nvram": await backup.blob(bytes(1000))}
        sums = {f"{backup.id} {name}": hashlib.sha256(disk).hexdigest() for name, disk in disks.items()}
        made = replace(BASE, disks=copies, files=files, parent=parent.id if parent else "", facts={"sha256": sums})
        return await backup.commit(made)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    asyncio.run(make(Path(sys.argv[1])))
