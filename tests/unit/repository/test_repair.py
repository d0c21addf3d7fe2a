"""Checking, scrubbing, repairing, healing and replicating: damage is named, mended where possible, never copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.errors import RepositoryError
from novafleet.model.backup import Snapshot
from novafleet.repository import Repository, keys, pack
from novafleet.repository.check import check, lost, lost_of, scrub
from novafleet.repository.index import Location
from novafleet.repository.repair import repair
from novafleet.repository.replicate import replicate
from novafleet.repository.stats import stats
from tests.unit.repository.disks import BLOCK, key_file, read_back
from tests.unit.repository.upkeep import DatedStore, Shelf, noise


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await Shelf.make(tmp_path)


async def place_of(shelf: Shelf, snapshot: Snapshot, block: int) -> Location:
    """Where a block of a snapshot is; threads race for the places in a pack."""
    root = await shelf.repository.root(snapshot.disks["vda"])
    page = await shelf.repository.page(root.pages[0])
    cell, start = divmod(block * BLOCK, shelf.repository.cell)
    span = next(each for each in page.cell(cell) if each.start <= start < each.end)
    return (await shelf.repository.index(again=True)).locations(span.chunk.id)[0]


async def pack_with(shelf: Shelf, snapshot: Snapshot, block: int) -> str:
    """The key of the pack that holds a block of a snapshot."""
    return pack.key_of((await place_of(shelf, snapshot, block)).pack)


def flip(shelf: Shelf, key: str, at: int) -> None:
    content = bytearray(shelf.store.objects[key])
    content[at] ^= 1
    shelf.store.objects[key] = bytes(content)


async def reopened(shelf: Shelf, tmp_path: Path) -> Shelf:
    other = Shelf(await Repository.open(shelf.store, key_file(tmp_path)), shelf.store)
    other.content = shelf.content
    return other


async def test_a_sound_repository_is_clean(shelf: Shelf) -> None:
    first = await shelf.back_up({n: noise() for n in range(4)})
    await shelf.back_up({2: noise()}, parent=first)
    done = await check(shelf.repository, share=1.0)
    assert done.clean
    assert (done.snapshots, done.packs, done.bytes_read > 5 * BLOCK) == (2, 4, True)
    some = await check(shelf.repository, share=0.25, seed=1)
    assert 0 < some.bytes_read < done.bytes_read
    assert not any(each.why for each in await scrub(shelf.store))


async def test_a_flipped_bit_is_named_by_snapshot_disk_and_offset(shelf: Shelf) -> None:
    first = await shelf.back_up({n: noise() for n in (0, 8, 16)})
    second = await shelf.back_up({16: noise()}, parent=first)
    key = await pack_with(shelf, first, 8)
    flip(shelf, key, (await place_of(shelf, first, 8)).offset + BLOCK // 2)
    assert (await check(shelf.repository)).clean, "structure alone cannot see it"
    done = await check(shelf.repository, share=1.0)
    found = {(each.snapshot, each.disk, each.offset, each.length) for each in done.damage if each.snapshot}
    assert found == {(name, "vda", 8 * BLOCK, BLOCK) for name in (first.id, second.id)}
    assert done.bad_packs == (key.rpartition("/")[2],)
    scrubbed = [each for each in await scrub(shelf.store) if each.why]
    assert [each.name for each in scrubbed] == [key.rpartition("/")[2]]
    assert "1 of 4 parts" in scrubbed[0].why


async def test_a_missing_or_short_pack_is_seen_without_reading(shelf: Shelf) -> None:
    first = await shelf.back_up({n: noise() for n in (0, 1)})
    second = await shelf.back_up({5: noise()})
    del shelf.store.objects[await pack_with(shelf, first, 0)]
    short = await pack_with(shelf, second, 5)
    shelf.store.objects[short] = shelf.store.objects[short][:1000]
    done = await check(shelf.repository)
    whys = {(each.snapshot, each.offset, each.length): each.what for each in done.damage}
    assert "missing" in whys[first.id, 0, 2 * BLOCK]
    assert "cut short" in whys[second.id, 5 * BLOCK, BLOCK]


async def test_a_damaged_snapshot_object_is_one_finding(shelf: Shelf) -> None:
    made = await shelf.back_up({1: noise()})
    flip(shelf, f"snapshots/{made.id}", 90)
    done = await check(shelf.repository)
    assert [(each.object, each.snapshot) for each in done.damage] == [(f"snapshots/{made.id}", made.id)]
    repaired = await repair(shelf.repository, shelf.clock)
    assert [(each.snapshot, each.disk) for each in repaired.lost] == [(made.id, "")]


async def test_an_index_is_made_anew_from_packs(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.back_up({n: noise() for n in range(4)})
    await shelf.back_up({n: noise() for n in range(4)})
    names = [key for key in shelf.store.objects if key.startswith("index/")]
    del shelf.store.objects[names[0]]
    flip(shelf, names[1], 100)
    blind = await reopened(shelf, tmp_path)
    assert not (await check(blind.repository)).clean
    done = await repair(blind.repository, blind.clock)
    assert (len(done.indexed), done.dropped, done.lost) == (4, [names[1]], ())
    assert await blind.restores() == 2
    assert (await check(blind.repository, share=1.0)).clean


async def test_a_damaged_pack_is_put_aside_and_the_next_backup_mends(shelf: Shelf, tmp_path: Path) -> None:
    blocks = {n: noise() for n in (0, 4, 8)}
    first = await shelf.back_up(blocks)
    key = await pack_with(shelf, first, 4)
    flip(shelf, key, (await place_of(shelf, first, 4)).offset + 5)
    done = await repair(shelf.repository, shelf.clock, read_data=True)
    assert done.quarantined == [key.rpartition("/")[2]]
    assert done.salvaged == 2
    assert [(each.disk, each.offset) for each in done.lost] == [("vda", 4 * BLOCK)]
    again = await repair(shelf.repository, shelf.clock, read_data=True)
    assert not again.quarantined
    later = await reopened(shelf, tmp_path)
    await later.back_up(blocks)
    assert (await check(later.repository, share=1.0)).clean
    assert await later.restores() == 2


async def test_a_lost_chunk_is_stored_again_only_as_itself(shelf: Shelf) -> None:
    blocks = {n: noise() for n in (0, 4, 8)}
    first = await shelf.back_up(blocks)
    copy = first.disks["vda"]
    assert await lost_of(shelf.repository, first, copy) == ()
    del shelf.store.objects[await pack_with(shelf, first, 4)]
    assert await lost_of(shelf.repository, first, copy) == (), "nobody has looked yet"
    assert len((await repair(shelf.repository, shelf.clock)).lost) == 3
    wanted = await lost_of(shelf.repository, first, copy)
    assert [each.offset for each in wanted] == [0, 4 * BLOCK, 8 * BLOCK]
    async with shelf.repository.backup(shelf.clock) as backup:
        for each in wanted:
            content = noise() if each.offset == 8 * BLOCK else blocks[each.offset // BLOCK]
            assert await backup.again(each.kind, each.chunk, content) == (each.offset != 8 * BLOCK)
        await backup.commit(replace(first, id="", parent=first.id))
    assert [each.offset for each in await lost_of(shelf.repository, first, copy)] == [8 * BLOCK]
    assert "lost" in shelf.store.objects
    async with shelf.repository.backup(shelf.clock) as backup:
        assert await backup.again(wanted[2].kind, wanted[2].chunk, blocks[8])
        await backup.commit(replace(first, id="", parent=first.id))
    assert (await repair(shelf.repository, shelf.clock)).lost == ()
    assert "lost" not in shelf.store.objects
    shelf.content |= {each.id: blocks for each in await shelf.repository.snapshots()}
    assert await shelf.restores() == 3


async def test_a_replica_is_whole_and_written_by_copying_only(shelf: Shelf, tmp_path: Path) -> None:
    first = await shelf.back_up({n: noise() for n in range(4)})
    replica = DatedStore()
    done = await replicate(shelf.store, replica, shelf.clock)
    assert (done.snapshots, done.packs) == ((first.id,), 2)
    second = await shelf.back_up({9: noise()}, parent=first)
    done = await replicate(shelf.store, replica, shelf.clock)
    assert (done.snapshots, done.packs) == ((second.id,), 2)
    copy = Shelf(await Repository.open(replica, key_file(tmp_path)), replica)
    copy.content = shelf.content
    assert await copy.restores() == 2
    assert len((await replicate(replica, DatedStore(), shelf.clock)).snapshots) == 2, "a replica can be copied"
    with pytest.raises(RepositoryError) as caught:
        await copy.back_up({1: noise()})
    assert caught.value.code == "NF-REPO-036"
    await repair(copy.repository, copy.clock, promote=True)
    await copy.back_up({1: noise()})
    with pytest.raises(RepositoryError) as caught:
        await replicate(shelf.store, replica, shelf.clock)
    assert caught.value.code == "NF-REPO-035"


async def test_copying_deletes_only_when_told(shelf: Shelf, tmp_path: Path) -> None:
    from novafleet.repository import trash

    first = await shelf.back_up({1: noise()})
    second = await shelf.back_up({2: noise()})
    replica = DatedStore()
    await replicate(shelf.store, replica, shelf.clock)
    await trash.forget(shelf.store, shelf.clock, [first.id])
    for _ in range(4):
        await shelf.collect(grace=0)
    await replicate(shelf.store, replica, shelf.clock)
    copy = Shelf(await Repository.open(replica, key_file(tmp_path)), replica)
    copy.content = shelf.content
    assert await copy.restores() == 2
    done = await replicate(shelf.store, replica, shelf.clock, delete=True)
    assert done.deleted
    assert [each.id for each in await copy.repository.snapshots()] == [second.id]
    assert await copy.restores() == 1
    assert (await check(copy.repository, share=1.0)).clean
    assert copy.packs() == shelf.packs()


async def test_a_damaged_pack_is_not_copied(shelf: Shelf) -> None:
    first = await shelf.back_up({1: noise()})
    key = await pack_with(shelf, first, 1)
    flip(shelf, key, 300)
    replica = DatedStore()
    done = await replicate(shelf.store, replica, shelf.clock)
    assert done.damaged == (key.rpartition("/")[2],)
    assert key not in replica.objects


async def test_another_repository_is_not_overwritten(shelf: Shelf, tmp_path: Path) -> None:
    other = await Shelf.make(tmp_path)
    with pytest.raises(RepositoryError) as caught:
        await replicate(shelf.store, other.store, shelf.clock)
    assert caught.value.code == "NF-REPO-035"


async def test_stats(shelf: Shelf) -> None:
    blocks = {n: noise() for n in range(4)}
    await shelf.back_up(blocks, vm="a")
    await shelf.back_up(blocks, vm="b")
    found = await stats(shelf.repository)
    assert (found.snapshots, found.mapped, found.logical) == (2, 8 * BLOCK, 128 * BLOCK)
    assert 1.8 < found.ratio < 2.1
    assert found.vms["host/b"].stored < BLOCK < found.vms["host/a"].stored


async def test_a_rotated_key_is_the_only_one_that_opens(shelf: Shelf, tmp_path: Path) -> None:
    new = tmp_path / "new"
    keys.new_key_file(new)
    source = keys.KeySource(file=new)
    added = await shelf.repository.add_key(source, label="new", at=2.0)
    old = await keys.opened_by(shelf.store, key_file(tmp_path).read())
    assert added.id not in old
    for each in old:
        await shelf.repository.remove_key(each)
    with pytest.raises(RepositoryError) as caught:
        await Repository.open(shelf.store, key_file(tmp_path))
    assert caught.value.code == "NF-REPO-005"
    await Repository.open(shelf.store, source)


async def test_nothing_is_lost_in_a_sound_repository(shelf: Shelf) -> None:
    made = await shelf.back_up({1: noise()})
    assert await lost(shelf.repository) == ()
    assert await read_back(await shelf.repository.disk(made.disks["vda"])) == shelf.content[made.id]


async def test_a_damaged_record_of_collection_stops_writers_until_it_is_repaired(shelf: Shelf) -> None:
    from novafleet.repository import trash

    first = await shelf.back_up({1: noise()})
    await shelf.back_up({2: noise()})
    await trash.forget(shelf.store, shelf.clock, [first.id])
    await shelf.collect()
    record = next(key for key in shelf.store.objects if key.startswith("gc/lists/"))
    shelf.store.objects[record] = b"{"
    shelf.store.objects["gc/log/stray"] = b""
    with pytest.raises(RepositoryError) as caught:
        await shelf.back_up({3: noise()})
    assert caught.value.code == "NF-REPO-030"
    assert (await repair(shelf.repository, shelf.clock)).dropped == [record]
    await shelf.back_up({3: noise()})
    for _ in range(5):
        await shelf.collect(grace=0)
    assert await shelf.restores() == 2
