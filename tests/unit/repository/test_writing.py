"""What a backup stores: cells made whole, nothing twice, zeroes for nothing, memory within its budget."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.errors import RepositoryError
from novafleet.model.backup import DiskCopy, Extent, Snapshot
from novafleet.repository import Repository, epochs, pipeline, sealer
from novafleet.repository.chunkmap import Chunk, Span
from novafleet.repository.diskwriter import pieces
from novafleet.repository.index import Index
from novafleet.repository.pipeline import Budget
from tests.fakes.memorystore import MemoryStore, StoppedError
from tests.unit.repository.disks import BLOCK, CELL, PAGE, StillClock, fresh, key_file, snapshot_of


async def _store(
    repository: Repository, size: int, writes: list[tuple[int, bytes]], parent: Snapshot | None = None
) -> Snapshot:
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(size, parent.disks["vda"] if parent else None)
        for offset, content in writes:
            await writer.data(offset, content)
        root, _ = await writer.finish(size)
        return await backup.commit(snapshot_of(root, size, parent=parent.id if parent else ""))


def _random(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def _pack_bytes(store: MemoryStore) -> int:
    return sum(len(content) for key, content in store.objects.items() if key.startswith("packs/"))


async def test_the_size_of_reads_does_not_matter(tmp_path: Path) -> None:
    """Cells are made whole from pieces: the same disk read otherwise is the same map."""
    repository = await fresh(tmp_path)
    content = _random(1, 4 * CELL + 100)
    whole = await _store(repository, len(content), [(0, content)])
    for step in (BLOCK, CELL, 3 * CELL + BLOCK):
        pieces = [(at, content[at : at + step]) for at in range(0, len(content), step)]
        assert (await _store(repository, len(content), pieces)).disks["vda"].root == whole.disks["vda"].root


async def test_nothing_is_stored_twice(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    content = _random(1, 4 * CELL)
    await _store(repository, 8 * CELL, [(0, content), (4 * CELL, content)])
    before = _pack_bytes(store)
    assert before < 4.1 * CELL
    await _store(repository, 4 * CELL, [(0, content)])
    assert _pack_bytes(store) < before + CELL // 20


async def test_an_incremental_stores_what_changed(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    first = await _store(repository, PAGE + 8 * CELL, [(at * CELL, _random(at, CELL)) for at in range(8)])
    before = _pack_bytes(store)
    await _store(repository, first.size, [(BLOCK, _random(99, BLOCK)), (PAGE, _random(98, BLOCK))], first)
    assert 2 * BLOCK <= _pack_bytes(store) - before <= 2.1 * BLOCK


async def test_zeroes_cost_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    snapshot = await _store(repository, 1 << 40, [(0, bytes(4 * CELL)), ((1 << 40) - BLOCK, bytes(BLOCK))])
    assert _pack_bytes(store) < 1 << 20
    source = await repository.disk(snapshot.disks["vda"])
    assert list(await source.extents(0, source.size)) == [Extent(0, 1 << 40, zero=True)]
    assert await source.read(12345, 100) == bytes(100)


async def test_a_huge_zeroed_disk_is_quick(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(10 << 40)
        await writer.zero(0, 10 << 40)
        root, stored = await asyncio.wait_for(writer.finish(10 << 40), 5)
    assert stored < 2 << 20
    assert len(root) == 64


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 1, (0, BLOCK)),
        (BLOCK - 1, 2, (0, CELL)),
        (BLOCK, BLOCK, (BLOCK, BLOCK)),
        (0, CELL, (0, CELL)),
        (BLOCK, CELL, (0, CELL + BLOCK)),
        (CELL - BLOCK, 3 * BLOCK, (CELL - BLOCK, CELL + BLOCK)),
        (2 * CELL, 100, (2 * CELL, 100)),
    ],
)
async def test_widen(tmp_path: Path, offset: int, length: int, expected: tuple[int, int]) -> None:
    repository = await fresh(tmp_path)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(2 * CELL + 100)
        assert await writer.widen(offset, length) == expected


async def test_a_cell_of_many_pieces_is_read_whole(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await Repository.create(store, key_file(tmp_path), at=0.0)
    cell = repository.cell
    writes = [(at * 2 * 4096, _random(at, 4096)) for at in range(8)]
    snapshot = await _store(repository, cell, writes)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(cell, snapshot.disks["vda"])
        assert await writer.widen(cell - BLOCK, BLOCK) == (0, cell)


async def test_what_one_run_asks_of_a_cell_counts_together(tmp_path: Path) -> None:
    """Blocks that lie apart, each too small to matter: with the eighth, half of the cell is dirty."""
    repository = await Repository.create(MemoryStore(), key_file(tmp_path), at=0.0)
    cell = repository.cell
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(2 * cell)
        asked = [await writer.widen((1 + 2 * at) * BLOCK + 5, 10) for at in range(8)]
        assert asked == [((1 + 2 * at) * BLOCK, BLOCK) for at in range(7)] + [(0, cell)]
        assert await writer.widen(cell + BLOCK, 4096) == (cell + BLOCK, BLOCK)


def test_what_a_cell_is_made_of() -> None:
    old, other = Chunk(b"o" * 32), Chunk(b"p" * 32)
    whole = (Span(0, 16 * BLOCK, 0, old),)
    two = (Span(0, BLOCK, 0, old), Span(BLOCK, BLOCK, 0, other), Span(2 * BLOCK, 14 * BLOCK, 2 * BLOCK, old))
    assert [pieces(whole, dirty) for dirty in (0, 0b1, 0b1010, 0xFFFF)] == [1, 2, 3, 1]
    assert [pieces(two, dirty) for dirty in (0, 0b10, 0b1010)] == [2, 2, 3]


async def _nothing(key: str) -> None:
    return


async def test_files(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    async with repository.backup(StillClock()) as backup:
        blobs = [await backup.blob(content) for content in (b"<domain/>", b"", _random(1, 3 * CELL))]
        await backup.commit(snapshot_of((await (await backup.disk(0)).finish(0))[0], 0))
    assert [await repository.blob(blob) for blob in blobs] == [b"<domain/>", b"", _random(1, 3 * CELL)]


async def test_snapshots_by_name(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    made = [await _store(repository, CELL, [(0, _random(seed, 10))]) for seed in range(3)]
    assert [each.id for each in await repository.snapshots()] == sorted(each.id for each in made)
    assert await repository.snapshot(made[1].id[:-3]) == made[1]
    for name in ("", made[0].id[0], "zzz"):
        with pytest.raises(RepositoryError) as caught:
            await repository.snapshot(name)
        assert caught.value.code == "NF-REPO-008"


async def test_packs_of_more_entries_than_their_tables_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novafleet.repository.pack.TARGET", CELL)
    monkeypatch.setattr("novafleet.repository.pack.TABLES", 0)
    repository = await fresh(tmp_path, MemoryStore())
    content = _random(1, CELL)
    made = await _store(repository, CELL, [(0, content)])
    source = await repository.disk(made.disks["vda"])
    assert await source.read(0, CELL) == content


async def test_a_failing_upload_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while ``data`` waits for room."""
    monkeypatch.setattr("novafleet.repository.pack.TARGET", CELL)
    monkeypatch.setattr(pipeline, "IN_FLIGHT", 2 * CELL)
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    store.left = 3
    monkeypatch.setattr(store, "delete", _nothing)  # giving the lease back
    with pytest.raises(StoppedError, match="packs/"):
        await asyncio.wait_for(_store(repository, 64 * CELL, [(at * CELL, _random(at, CELL)) for at in range(64)]), 20)


async def test_what_is_under_way_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer holds ``data`` back."""
    monkeypatch.setattr("novafleet.repository.pack.TARGET", CELL)
    monkeypatch.setattr(pipeline, "IN_FLIGHT", 4 * CELL)
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    going, accepted = asyncio.Event(), 0
    put = store.put

    async def held(key: str, data: bytes) -> None:
        await going.wait()
        await put(key, data)

    async with repository.backup(StillClock()) as backup:
        monkeypatch.setattr(store, "put", held)
        writer = await backup.disk(32 * CELL)

        async def feed() -> None:
            nonlocal accepted
            for at in range(32):
                await writer.data(at * CELL, _random(at, CELL))
                accepted += 1

        feeding = asyncio.create_task(feed())
        done, _ = await asyncio.wait([feeding], timeout=0.5)
        assert not done
        assert accepted <= 7
        going.set()
        await asyncio.wait_for(feeding, 20)


async def test_a_processor_that_miscalculates_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compress = sealer.compress
    monkeypatch.setattr(sealer, "compress", lambda content: compress(content[:-1] + b"!"))
    repository = await fresh(tmp_path)
    with pytest.raises(RepositoryError) as caught:
        await _store(repository, CELL, [(0, _random(1, CELL))])
    assert caught.value.code == "NF-REPO-015"


async def test_a_parent_must_be_named(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    first = await _store(repository, CELL, [(0, b"x" * CELL)])
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(CELL, first.disks["vda"])
        root, _ = await writer.finish(CELL)
        with pytest.raises(ValueError, match="parent"):
            await backup.commit(snapshot_of(root, CELL))


async def test_ranges_outside_the_disk(tmp_path: Path) -> None:
    repository = await fresh(tmp_path)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(CELL)
        for offset, length in ((CELL, 1), (-1, 1), (0, CELL + 1)):
            with pytest.raises(ValueError, match="not within"):
                await writer.zero(offset, length)


async def test_budget_lets_one_large_request_through() -> None:
    budget = Budget(10)
    await asyncio.wait_for(budget.take(100), 1)
    waiting = asyncio.create_task(budget.take(1))
    assert not (await asyncio.wait([waiting], timeout=0.05))[0]
    budget.give(100)
    await asyncio.wait_for(waiting, 1)


def test_an_empty_index_finds_nothing() -> None:
    assert Index().locations(bytes(32)) == ()


async def test_disks_written_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One disk's end does not wait for the other's, and the packs they share are whole."""
    monkeypatch.setattr("novafleet.repository.pack.TARGET", 3 * CELL)
    monkeypatch.setattr("novafleet.repository.diskwriter.DRAFTS", 1)
    repository = await fresh(tmp_path)
    contents = [_random(seed, 6 * CELL) for seed in range(3)]
    async with repository.backup(StillClock()) as backup:

        async def one(content: bytes) -> str:
            writer = await backup.disk(2 * PAGE)
            for at in range(0, len(content), CELL):
                await writer.data((at % (2 * CELL)) // CELL * PAGE + at, content[at : at + CELL])
            return (await writer.finish(2 * PAGE))[0]

        roots = await asyncio.wait_for(asyncio.gather(*(one(content) for content in contents)), 30)
        made = [snapshot_of(root, 2 * PAGE).disks["vda"] for root in roots]
        await backup.commit(snapshot_of(roots[0], 2 * PAGE))
    for disk, content in zip(made, contents, strict=True):
        source = await repository.disk(disk)
        for at in range(0, len(content), CELL):
            assert await source.read((at % (2 * CELL)) // CELL * PAGE + at, CELL) == content[at : at + CELL]


async def test_a_disk_is_kept_half_written_and_gone_on_with(tmp_path: Path) -> None:
    """By a run that ends without a snapshot; the next goes on where it was, as long as nothing of it is condemned."""
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    first, second = _random(1, 3 * CELL), _random(2, 3 * CELL)
    parent = await _store(repository, 6 * CELL, [(0, first)])
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(6 * CELL, parent.disks["vda"])
        await writer.data(BLOCK, second[BLOCK : 2 * CELL])
        root = await writer.keep()
        await writer.data(3 * CELL, second)  # and was killed
    kept = DiskCopy("vda", "vda", 6 * CELL, root)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.resume(kept, parent.disks["vda"])
        assert writer is not None
        await writer.data(5 * CELL, second[:CELL])
        root, _ = await writer.finish(6 * CELL)
        made = await backup.commit(snapshot_of(root, 6 * CELL, parent=parent.id))
    content = await (await repository.disk(made.disks["vda"])).read(0, 6 * CELL)
    wanted = first[:BLOCK] + second[BLOCK : 2 * CELL] + first[2 * CELL :] + bytes(2 * CELL) + second[:CELL]
    assert content == wanted
    packs = [each.key.rpartition("/")[2] async for each in store.list("packs/")]
    assert await epochs.publish(store, 1, packs, [])
    async with repository.backup(StillClock()) as backup:
        assert await backup.resume(kept, parent.disks["vda"]) is None
        assert await backup.resume(replace(kept, root="00" * 32)) is None
