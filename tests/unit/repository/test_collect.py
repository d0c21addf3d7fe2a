"""Garbage collection, the trash, holds and proofs on a real repository."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from novafleet.errors import GuardError, RepositoryError
from novafleet.model.policy import Keep
from novafleet.repository import records, reserve, trash
from novafleet.repository.check import check
from novafleet.repository.collected import Rules
from novafleet.repository.contents import RepositoryContents
from novafleet.repository.gc import collect
from novafleet.repository.lease import SEAL
from novafleet.repository.records import Hold, Proof
from novafleet.source import cron
from tests.unit.repository.upkeep import DAY, HOUR, Shelf, noise


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await Shelf.make(tmp_path)


def stored(shelf: Shelf) -> int:
    """Bytes, without the room that is kept."""
    return sum(len(content) for key, content in shelf.store.objects.items() if key != reserve.KEY)


async def test_forgotten_data_goes_after_the_trash_and_the_grace_period(shelf: Shelf) -> None:
    first = await shelf.back_up({n: noise() for n in range(16)})
    second = await shelf.back_up({0: noise()}, parent=first)
    third = await shelf.back_up({n: noise() for n in range(20, 24)})
    shelf.pass_time(DAY)
    full = stored(shelf)
    await trash.forget(shelf.store, shelf.clock, [first.id, second.id])
    assert not (await shelf.collect()).condemned, "the trash still needs it"
    shelf.pass_time(DAY)
    done = await shelf.collect()
    assert done.emptied == (first.id, second.id)
    assert (await shelf.collect()).condemned, "`backup prune` goes on at once when the trash was emptied"
    shelf.pass_time(HOUR)
    waiting = await shelf.collect()
    assert not waiting.deleted
    assert "grace period" in waiting.waiting[0]
    shelf.pass_time(DAY)
    assert (await shelf.collect()).deleted
    assert stored(shelf) < full / 3
    assert await shelf.restores() == 1
    assert (await check(shelf.repository, share=1.0)).clean
    assert [each.id for each in await shelf.repository.snapshots()] == [third.id]


async def test_space_is_free_at_once_without_grace(shelf: Shelf) -> None:
    first = await shelf.back_up({n: noise() for n in range(8)})
    await shelf.back_up({40: noise()})
    await trash.forget(shelf.store, shelf.clock, [first.id])
    for _ in range(4):
        await shelf.collect(grace=0)
    assert len(shelf.packs()) == 2, "one of data, one of maps"
    assert await shelf.restores() == 1


async def test_what_is_forgotten_can_be_brought_back(shelf: Shelf) -> None:
    first = await shelf.back_up({1: noise()})
    await shelf.back_up({2: noise()})
    await trash.forget(shelf.store, shelf.clock, [first.id])
    assert [each.snapshot for each in await trash.trashed(shelf.store)] == [first.id]
    assert await shelf.restores() == 1
    await trash.undo(shelf.store, shelf.clock, first.id)
    assert await shelf.restores() == 2
    for _ in range(4):
        shelf.pass_time(DAY)
        await shelf.collect()
    assert await shelf.restores() == 2
    with pytest.raises(RepositoryError) as caught:
        await trash.undo(shelf.store, shelf.clock, first.id)
    assert caught.value.code == "NF-REPO-034"


async def test_a_pack_that_is_mostly_garbage_is_stored_again(shelf: Shelf) -> None:
    kept = noise()
    first = await shelf.back_up({n: noise() for n in range(0, 60, 4)} | {63: kept})
    await shelf.back_up({63: kept})
    shelf.pass_time(DAY)
    await trash.forget(shelf.store, shelf.clock, [first.id])
    for _ in range(4):
        await shelf.collect()
        shelf.pass_time(DAY)
    assert sum(len(shelf.store.objects[key]) for key in shelf.packs()) < 200_000
    assert await shelf.restores() == 1
    assert (await check(shelf.repository, share=1.0)).clean


async def test_a_backup_that_was_killed_leaves_nothing_for_good(shelf: Shelf) -> None:
    await shelf.back_up({1: noise()})
    before = set(shelf.store.objects)
    context = shelf.repository.backup(shelf.clock)
    backup = await context.__aenter__()
    disk = await backup.disk(1 << 20)
    await disk.data(0, noise() * 4)
    await disk.finish(1 << 20)
    await backup._pipeline.flush()
    lost_lease = [key for key in shelf.store.objects if key.startswith("leases/")]
    assert lost_lease
    kept = {key: shelf.store.objects[key] for key in lost_lease}
    await context.__aexit__(None, None, None)
    shelf.store.objects |= kept  # as if nobody had cleaned up
    for _ in range(4):
        shelf.pass_time(DAY)
        await shelf.collect()
    gone = {key for key in shelf.store.objects if not key.startswith("gc/")} - before
    assert {shelf.store.objects[key] for key in gone} <= {SEAL}
    assert await shelf.restores() == 1


async def test_a_snapshot_that_cannot_be_read_stops_collection(shelf: Shelf) -> None:
    first = await shelf.back_up({1: noise()})
    await shelf.back_up({2: noise()})
    key = f"snapshots/{first.id}"
    shelf.store.objects[key] = shelf.store.objects[key][:-1] + b"x"
    with pytest.raises(RepositoryError) as caught:
        await shelf.collect()
    assert caught.value.code == "NF-REPO-033"
    await trash.forget(shelf.store, shelf.clock, [first.id])
    for _ in range(3):
        shelf.pass_time(DAY)
        await shelf.collect()
    assert await shelf.restores() == 1


async def test_while_chunks_are_missing_nothing_needed_goes(shelf: Shelf) -> None:
    first = await shelf.back_up({1: noise()})
    await shelf.back_up({2: noise()})
    third = await shelf.back_up({3: noise()})
    index = next(key for key in shelf.store.objects if key.startswith("index/"))
    del shelf.store.objects[index]
    await trash.forget(shelf.store, shelf.clock, [third.id])
    packs = shelf.packs()
    for _ in range(4):
        shelf.pass_time(DAY)
        done = await shelf.collect()
    assert done.missing
    assert len(packs) - len(shelf.packs()) == 2, "the third's packs say themselves that nobody needs them"
    assert first.id


async def test_proofs_and_holds(shelf: Shelf) -> None:
    made = await shelf.back_up({1: noise()})
    await records.record_proof(shelf.repository, shelf.clock, Proof(made.id, "drill", 5.0, ok=True, facts={"rto": 12}))
    await records.record_proof(shelf.repository, shelf.clock, Proof(made.id, "verify", 4.0, ok=False))
    assert [each.kind for each in await records.proofs(shelf.repository)] == ["verify", "drill"]
    await records.hold(shelf.repository, Hold(made.id, 1.0, "audit"))
    assert (await records.holds(shelf.repository))[made.id].reason == "audit"
    key = f"holds/{made.id}"
    shelf.store.objects[key] = b"x" + shelf.store.objects[key][1:]
    assert "cannot be read" in (await records.holds(shelf.repository))[made.id].reason, "it holds all the same"
    await records.release(shelf.repository, made.id)
    assert not await records.holds(shelf.repository)
    proof = next(key for key in shelf.store.objects if key.startswith("proofs/"))
    other = f"proofs/{'0' * 26}-{proof.rpartition('-')[2]}"
    shelf.store.objects[other] = shelf.store.objects[proof]
    with pytest.raises(RepositoryError):
        await records.proofs(shelf.repository)


async def test_by_policy_keeps_what_is_proven_and_held(shelf: Shelf) -> None:
    from novafleet.app.retention import Rule, by_policy

    made = [await shelf.back_up({n: noise()}) for n in range(5)]
    other = await shelf.back_up({9: noise()}, vm="other")
    await records.hold(shelf.repository, Hold(made[0].id, 1.0, "audit"))
    await records.record_proof(shelf.repository, shelf.clock, Proof(made[1].id, "drill", 5.0, ok=True))
    rules = [Rule(Keep(last=1), ("vm",))]
    dry = await by_policy(shelf.repository, rules, shelf.clock, dry=True)
    assert len(await shelf.repository.snapshots()) == 6
    assert [each.id for each in dry.forgotten] == [made[3].id, made[2].id]
    await by_policy(shelf.repository, rules, shelf.clock)
    kept = {each.id for each in await shelf.repository.snapshots()}
    assert kept == {made[0].id, made[1].id, made[4].id, other.id}
    assert replace(other).id in kept


async def test_a_damaged_proof_protects_and_stops_nothing(shelf: Shelf) -> None:
    from novafleet.app.retention import Rule, by_policy

    made = [await shelf.back_up({n: noise()}) for n in range(3)]
    key = await records.record_proof(shelf.repository, shelf.clock, Proof(made[0].id, "drill", 5.0, ok=True))
    shelf.store.objects[key] = shelf.store.objects[key][:-1]
    done = await by_policy(shelf.repository, [Rule(Keep(last=1))], shelf.clock)
    assert [each.id for each in done.forgotten] == [made[1].id]


async def test_a_day_is_one_of_the_calendar_it_was_in(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late at night in winter is no next day, however the clock stands when somebody prunes."""
    from novafleet.app.retention import Rule, by_policy

    monkeypatch.setattr(cron, "zone", lambda: ZoneInfo("Europe/Berlin"))
    for at in ("2027-01-31T23:30+01:00", "2027-02-28T12:00+01:00"):
        shelf.clock.seconds = itertools.count(int(datetime.fromisoformat(at).timestamp()))
        await shelf.back_up({1: noise()})
    summer = datetime.fromisoformat("2027-07-01T12:00+02:00")
    shelf.clock.seconds = itertools.count(int(summer.timestamp()))
    done = await by_policy(shelf.repository, [Rule(Keep(monthly=5))], shelf.clock, dry=True)
    assert [each.reasons[0] for each in done.verdicts] == ["monthly 2027-02", "monthly 2027-01"]


async def test_the_last_backup_of_a_vm_is_guarded(tmp_path: Path) -> None:
    from novafleet.app.retention import _leave_one

    shelf = await Shelf.make(tmp_path)
    made = await shelf.back_up({1: noise()})
    with pytest.raises(GuardError) as caught:
        _leave_one([made], [made.id])
    assert caught.value.code == "NF-GUARD-010"


async def test_many_small_index_objects_become_one(shelf: Shelf) -> None:
    for number in range(8):
        await shelf.back_up({number: noise()})
    rules = Rules(merge_above=4)
    await collect(shelf.store, RepositoryContents(shelf.repository), shelf.clock, rules)
    assert len([key for key in shelf.store.objects if key.startswith("index/")]) == 1
    assert await shelf.restores() == 8
    assert (await check(shelf.repository, share=1.0)).clean
