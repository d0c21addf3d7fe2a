"""Garbage collection against the interleavings a schedule can say: nothing committed is lost, and garbage goes.

Scenes are the known ways to lose data. For each rule of ``novafleet/repository/gc.py`` a scene also runs without it and
must lose data then: so the rule is needed, and these tests would notice if it went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import FencedError, RepositoryError
from novafleet.ports import ObjectStore
from novafleet.repository import epochs, gc, lease
from novafleet.repository.epochs import CondemnList
from novafleet.repository.index import Packed
from novafleet.repository.lease import Held, Lease
from novafleet.repository.marks import Marks
from novafleet.repository.pack import key_of
from tests.property.gcmodel import (
    HOUR,
    Loss,
    Stage,
    back_up,
    collect,
    decoded,
    forget_all_but,
    needs,
    undo_one,
)

Scene = Callable[[Stage], Awaitable[None]]
DAY = 25.0


def backup_of(*chunks: int, inherit: bool = False, early: bool = False) -> Callable[..., Awaitable[None]]:
    return partial(back_up, wanted=frozenset(chunks), inherit=inherit, early=early)


def play(scene: Scene) -> None:
    """Run a scene; afterwards everything committed is whole, and all garbage goes once the dust has settled."""

    async def act() -> None:
        stage = Stage()
        try:
            await scene(stage)
            await settle(stage)
        finally:
            await stage.close()

    asyncio.run(act())


async def settle(stage: Stage) -> None:
    check(stage)
    for name in stage.tasks:
        stage.kill(name)
    for number in range(7):
        await stage.pass_time(DAY)
        await stage.run(f"last{number}", collect)
    check(stage)
    assert_clean(stage)


def check(stage: Stage) -> None:
    for failure in stage.failures():
        raise failure
    stage.world.verify()


def assert_clean(stage: Stage) -> None:
    world = stage.world
    whole = [world.objects[key][0] for key in world.keys("snapshots/") if world.objects[key][0] != lease.SEAL]
    needed = {each for content in whole for each in needs(content)}
    segments = [world.objects[key][0] for key in world.keys("index/") if world.objects[key][0] != lease.SEAL]
    listed = {packed.name: {entry.id for entry in packed.entries} for each in segments for packed in decoded(each)}
    assert not [name for name, chunks in listed.items() if not chunks & needed], "garbage is left"
    assert sorted(map(key_of, listed)) == world.keys("packs/"), "packs and index agree"
    assert not [key for prefix in ("trash/", "leases/", "gc/lists/") for key in world.keys(prefix)]


async def unneeded(stage: Stage, *chunks: int) -> None:
    """Chunks that are stored and indexed, and that no snapshot and no trash needs any more."""
    await stage.run("first", backup_of(*chunks))
    await stage.pass_time(DAY)
    await stage.run("forget", partial(forget_all_but, kept=0))
    await stage.run("gc1", collect)
    await stage.pass_time(DAY)
    await stage.run("gc2", collect)
    assert not stage.world.keys("trash/")
    assert not stage.world.keys("gc/lists/")


async def condemned(stage: Stage, *chunks: int) -> None:
    """The same, and a list condemns them."""
    await unneeded(stage, *chunks)
    await stage.run("gc3", collect)
    assert stage.world.keys("gc/lists/")


async def proxmox(stage: Stage) -> None:
    """PSA-2025-00019-1: the collector has listed the snapshots; a new one reuses the chunks of one that goes."""
    await stage.run("first", backup_of(1, 2))
    await stage.pass_time(DAY)
    stage.start("gc", collect)
    await stage.until("gc", "list packs/")
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.run("forget", partial(forget_all_but, kept=0))
    await stage.finish("gc")
    for number in range(5):
        await stage.pass_time(DAY, alive="writer")
        await stage.run(f"gc{number}", collect)
    await stage.finish("writer")


async def older_writer(stage: Stage) -> None:
    """A writer found chunks; a list condemned them; the grace period went by; the writer lives and commits."""
    await unneeded(stage, 1, 2)
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.run("gc3", collect)
    await stage.pass_time(DAY, alive="writer")
    await stage.run("gc4", collect)
    await stage.finish("writer")
    assert stage.tasks["writer"].result() is None


async def committed_after_the_list(stage: Stage) -> None:
    """The same, but it commits before the decision: only a second look can know."""
    await unneeded(stage, 1, 2)
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.run("gc3", collect)
    await stage.finish("writer")
    await stage.pass_time(DAY)
    await stage.run("gc4", collect)


async def committed_while_deciding(stage: Stage) -> None:
    """It commits, and gives its lease back, just before the collector looks at leases."""
    await unneeded(stage, 1, 2)
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.run("gc3", collect)
    await stage.pass_time(DAY, alive="writer")
    stage.start("gc4", collect)
    await stage.until("gc4", "list leases/")
    await stage.finish("writer")
    await stage.finish("gc4")


async def paused_writer(stage: Stage) -> None:
    """A writer stood still for longer than the grace period: it is refused, exactly."""
    await unneeded(stage, 1, 2)
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.run("gc3", collect)
    await stage.pass_time(DAY)
    await stage.run("gc4", collect)
    await stage.finish("writer")
    check(stage)
    assert isinstance(stage.tasks["writer"].result(), FencedError)


async def late_index(stage: Stage) -> None:
    """A writer stored a pack and stood still; the pack went; now it wakes and lists the pack; another believes it."""
    stage.start("sleeper", backup_of(1, 2))
    await stage.until("sleeper", "create index/")
    for number in range(4):
        await stage.pass_time(DAY)
        await stage.run(f"gc{number}", collect)
    assert not stage.world.keys("packs/")
    await stage.finish("sleeper")
    await stage.run("next", backup_of(1, 2))


async def newer_writer(stage: Stage) -> None:
    """A writer that begins after a list was published stores again what it names: nobody waits for it."""
    await condemned(stage, 1, 2)
    stage.start("writer", backup_of(1, 2))
    await stage.until("writer", "create snapshots/")
    await stage.pass_time(DAY, alive="writer")
    await stage.run("gc4", collect)
    await stage.finish("writer")
    check(stage)
    assert len(stage.world.keys("packs/")) == 1, "what was condemned is gone, what the writer stored is there"


async def stored_twice(stage: Stage) -> None:
    """A chunk is in a condemned pack and in a new one: each must not be the reason to drop the other."""
    await condemned(stage, 1, 2)
    await stage.run("writer", backup_of(1, 2))
    await stage.pass_time(DAY - 1)
    await stage.run("gc4", partial(collect, newest_first=False))
    for number in range(3):
        await stage.pass_time(DAY)
        await stage.run(f"gc{5 + number}", partial(collect, newest_first=False))


async def early_parent(stage: Stage) -> None:
    """A writer chose its parent, stood still, and took its lease when the parent's chunks were condemned already."""
    await stage.run("first", backup_of(1, 2))
    stage.start("writer", backup_of(3, early=True))
    await stage.until("writer", "list gc/log/")
    await stage.pass_time(DAY)
    await stage.run("forget", partial(forget_all_but, kept=0))
    for number in range(3):
        await stage.run(f"gc{number}", collect)
        await stage.pass_time(DAY if number < 2 else 0)
    assert stage.world.keys("gc/lists/")
    await stage.until("writer", "create index/")
    await stage.pass_time(DAY, alive="writer")
    await stage.run("gc4", collect)
    await stage.finish("writer")
    check(stage)
    result = stage.tasks["writer"].result()
    assert isinstance(result, RepositoryError)
    assert result.code == "NF-REPO-032"


async def two_rewriters(stage: Stage) -> None:
    """Two collectors write one index object anew; the slower one lists again what the other has deleted."""
    await stage.run("first", backup_of(1, 2, 3, 4, 5, 6))
    await stage.pass_time(DAY)
    await stage.run("keeps3", backup_of(3, 4))
    stage.world.objects.pop(stage.world.keys("snapshots/")[0])
    packs = {tuple(entry.id[0] for entry in each.entries): each.name for each in segment(stage)}
    await epochs_of(stage, 1, packs[1, 2])
    await stage.pass_time(0.5)
    await epochs_of(stage, 2, packs[5, 6])
    await stage.pass_time(23.75)
    stage.start("slow", collect)
    await stage.until("slow", "create index/")
    await stage.pass_time(0.5, alive="slow")
    await stage.run("quick", collect)
    await stage.finish("slow")
    await stage.run("writer", backup_of(5, 6))


def segment(stage: Stage) -> Sequence[Packed]:
    return decoded(stage.world.objects[stage.world.keys("index/")[0]][0])


async def epochs_of(stage: Stage, epoch: int, *packs: str) -> None:
    async def publish(view: ObjectStore, _: object) -> None:
        assert await epochs.publish(view, epoch, packs, ())

    await stage.run(f"publish{epoch}", publish)


SCENES: list[Scene] = [
    proxmox,
    older_writer,
    committed_after_the_list,
    committed_while_deciding,
    paused_writer,
    late_index,
    newer_writer,
    stored_twice,
    early_parent,
    two_rewriters,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_scene(scene: Scene) -> None:
    play(scene)


def waits_for_nobody(self: gc.Collection, condemned_list: CondemnList, living: Sequence[Held]) -> bool:
    return False


async def trusts_the_first_look(store: ObjectStore, listed: CondemnList, spared: object) -> frozenset[str]:
    return await original_decide(store, listed, ())


async def drops_the_lease_only(store: ObjectStore, held: Held) -> None:
    await store.delete(held.key)


async def seals_no_index(store: ObjectStore, held: Held) -> None:
    await store.create(lease.SNAPSHOTS + held.snapshot, lease.SEAL)
    await store.delete(held.key)


async def reads_no_lists(self: Lease) -> None:
    await original_take(self)
    self.condemned = frozenset()


async def believes_other_lists_stay(self: gc.Collection, marks: Marks, lists: object) -> frozenset[str]:
    return await original_survey(self, marks, ())


async def asks_for_no_parent(self: Lease, content: bytes, *, parent: str = "") -> str:
    return await original_commit(self, content)


async def finishes_in_company(self: gc.Collection, lists: Sequence[CondemnList]) -> object:
    async def nobody() -> list[Held]:
        return []

    self._others = nobody  # type: ignore[method-assign]
    return await original_sweep(self, lists)


async def marks_before_leases(self: gc.Collection, lists: Sequence[CondemnList], now: float) -> frozenset[int]:
    marks = await self._mark()

    async def marked() -> Marks:
        return marks

    self._mark = marked  # type: ignore[method-assign]
    return await original_ripe(self, lists, now)


original_decide, original_take, original_survey = epochs.decide, Lease.take, gc.Collection._survey
original_commit, original_sweep, original_ripe = Lease.commit, gc.Collection._sweep, gc.Collection._ripe
MUTANTS: list[tuple[object, str, object, Scene]] = [
    (gc.Collection, "_blocked", waits_for_nobody, older_writer),
    (epochs, "decide", trusts_the_first_look, committed_after_the_list),
    (gc.Collection, "_ripe", marks_before_leases, committed_while_deciding),
    (gc, "fence", drops_the_lease_only, paused_writer),
    (gc, "fence", seals_no_index, late_index),
    (Lease, "take", reads_no_lists, newer_writer),
    (gc.Collection, "_survey", believes_other_lists_stay, stored_twice),
    (Lease, "commit", asks_for_no_parent, early_parent),
    (gc.Collection, "_sweep", finishes_in_company, two_rewriters),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant[2].__name__)
def test_each_rule_is_needed(mutant: tuple[object, str, object, Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, change, scene = mutant
    monkeypatch.setattr(owner, name, change)
    with pytest.raises(Loss):
        play(scene)


KINDS = ["step"] * 10 + ["finish"] * 4 + ["time"] * 4 + ["backup"] * 3 + ["collect"] * 4 + ["forget"] * 2
PROGRAMS = st.lists(
    st.tuples(st.sampled_from([*KINDS, "undo", "kill"]), st.integers(0, 7), st.integers(0, 63)), max_size=60
)
HOURS = (0.5, 2.0, DAY)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS)
def test_any_schedule(program: list[tuple[str, int, int]]) -> None:
    """Backups, inheriting or not, collections, forgetting, undoing, time, pauses and kills in any order."""
    play(partial(perform, program=program))


async def perform(stage: Stage, program: list[tuple[str, int, int]]) -> None:
    for number, (kind, who, amount) in enumerate(program):
        living = [name for name in stage.tasks if not stage.done(name) and name not in stage.frozen]
        if kind == "time":
            await stage.pass_time(HOURS[amount % 3], alive=living[who % len(living)] if living and who < 4 else "")
        elif kind in ("backup", "collect", "forget", "undo"):
            stage.start(f"{kind}{number}", actor(kind, who, amount), skew=(who - 4) * 24 * HOUR)
        elif living and kind == "kill":
            stage.kill(living[who % len(living)])
        elif living:
            await stage.step(living[who % len(living)], 1 + amount % 12 if kind == "step" else 100_000)
        check(stage)


def actor(kind: str, who: int, amount: int) -> Callable[..., Awaitable[object]]:
    chunks = [number for number in range(6) if amount >> number & 1]
    return {
        "backup": backup_of(*chunks, inherit=who % 2 == 1, early=who % 4 == 3),
        "collect": partial(collect, newest_first=who % 2 == 0, merge_above=1 + amount % 4),
        "forget": partial(forget_all_but, kept=who % 2),
        "undo": partial(undo_one, number=who),
    }[kind]


@pytest.mark.parametrize("writer", [False, True], ids=["alone", "beside a backup"])
def test_a_collection_killed_at_every_operation(writer: bool) -> None:
    """The next one goes on, whatever the last one had done."""
    for operations in range(1, 200):
        done = False

        async def scene(stage: Stage, operations: int = operations) -> None:
            nonlocal done
            await condemned(stage, 1, 2, 3, 4)
            await stage.run("other", backup_of(3, 4, 5))
            await stage.pass_time(DAY)
            if writer:
                stage.start("writer", backup_of(1, 5))
                await stage.until("writer", "create snapshots/")
            stage.start("killed", collect)
            done = await stage.step("killed", operations) < operations
            stage.kill("killed")
            if writer:
                await stage.finish("writer")

        play(scene)
        if done:
            return
    raise AssertionError("it never came to its end")
