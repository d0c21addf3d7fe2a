"""Killed between any two operations on the store: what was committed stays, what was not does not show."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from novafleet.model.backup import Snapshot
from novafleet.repository import KeySource, Repository
from tests.fakes.memorystore import MemoryStore, StoppedError
from tests.unit.repository.disks import CELL, Model, StillClock, fresh, key_file, read_back, snapshot_of

SIZE = 6 * CELL


async def _back_up(repository: Repository, model: Model, seed: int, parent: Snapshot | None) -> Snapshot:
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(SIZE, parent.disks["vda"] if parent else None)
        for cell in range(6):
            content = random.Random(seed * 10 + cell).randbytes(CELL)
            await writer.data(cell * CELL, content)
            model.write(cell * CELL, content)
        await backup.blob(b"<domain/>" * seed)
        root, _ = await writer.finish(SIZE)
        return await backup.commit(snapshot_of(root, SIZE, parent=parent.id if parent else ""))


async def _first(folder: Path) -> tuple[MemoryStore, Snapshot, dict[int, bytes]]:
    store, model = MemoryStore(), Model(SIZE)
    snapshot = await _back_up(await fresh(folder, store), model, 1, None)
    return store, snapshot, model.content()


async def _operations(store: MemoryStore, key: KeySource, first: Snapshot) -> int:
    trial = MemoryStore(store.objects)
    await _back_up(await Repository.open(trial, key), Model(SIZE), 2, first)
    return trial.changes


@pytest.mark.parametrize("torn", [False, True])
async def test_killed_at_every_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool) -> None:
    monkeypatch.setattr("novafleet.repository.pack.TARGET", 2 * CELL)
    monkeypatch.setattr("novafleet.repository.pipeline.SEGMENT", 2)
    store, first, wanted = await _first(tmp_path)
    key = key_file(tmp_path)
    count = await _operations(store, key, first)
    assert count >= 8
    for left in range(1, count + 1):
        killed, model = MemoryStore(store.objects, left=left, torn=torn), Model(SIZE)
        with pytest.raises(StoppedError):
            await _back_up(await Repository.open(killed, key), model, 2, first)
        after = MemoryStore(killed.objects)
        repository = await Repository.open(after, key)
        found = await repository.snapshots()
        committed = any(line.startswith("create snapshots/") for line in killed.log) or torn
        assert found[0] == first
        assert len(found) == 1 or committed
        for snapshot, content in zip(found, [wanted, model.content()], strict=False):
            assert await read_back(await repository.disk(snapshot.disks["vda"])) == content
        again = Model(SIZE)
        last = await _back_up(repository, again, 3, first)
        assert await read_back(await repository.disk(last.disks["vda"])) == again.content()


async def test_a_killed_run_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reached an index segment before the kill is found by the next run."""
    monkeypatch.setattr("novafleet.repository.pack.TARGET", 2 * CELL)
    monkeypatch.setattr("novafleet.repository.pipeline.SEGMENT", 2)
    store, first, _ = await _first(tmp_path)
    key = key_file(tmp_path)
    whole = MemoryStore(store.objects)
    await _back_up(await Repository.open(whole, key), Model(SIZE), 2, first)
    snapshot_at = next(n for n, line in enumerate(whole.log, 1) if line.startswith("create snapshots/"))
    killed = MemoryStore(store.objects, left=snapshot_at)
    with pytest.raises(StoppedError):
        await _back_up(await Repository.open(killed, key), Model(SIZE), 2, first)
    after = MemoryStore(killed.objects)
    await _back_up(await Repository.open(after, key), Model(SIZE), 2, first)
    assert not [line for line in after.log if line.startswith("put packs/")]


async def test_nothing_shows_without_a_commit(tmp_path: Path) -> None:
    store, first, _ = await _first(tmp_path)
    repository = await Repository.open(store, key_file(tmp_path))
    with pytest.raises(KeyError):
        async with repository.backup(StillClock()) as backup:
            writer = await backup.disk(CELL)
            await writer.data(0, b"x" * CELL)
            raise KeyError
    assert await repository.snapshots() == (first,)
    assert not [key for key in store.objects if key.startswith("leases/")]


async def test_a_full_store_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    store, first, _ = await _first(tmp_path)
    broken = MemoryStore(store.objects, left=3)
    with pytest.raises(StoppedError):
        await _back_up(await Repository.open(broken, key_file(tmp_path)), Model(SIZE), 5, first)
