"""Random sequences of backups against a model: every committed snapshot reads back bit-exact, through both readers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from novafleet.repository import DiskWriter, Repository
from tests.fakes.memorystore import MemoryStore
from tests.unit.repository.disks import (
    BLOCK,
    CELL,
    PAGE,
    Model,
    StillClock,
    fresh,
    key_file,
    lay_out,
    read_back,
    snapshot_of,
    standalone,
)


@dataclass(frozen=True)
class Write:
    """``seed`` 0 writes zeroes as data."""

    offset: int
    length: int
    seed: int


@dataclass(frozen=True)
class Zero:
    offset: int
    length: int


@dataclass(frozen=True)
class Run:
    full: bool
    size: int
    operations: tuple[Write | Zero, ...]


# offsets are taken modulo the disk's size, lengths are cut at its end
PLACES = st.one_of(
    st.integers(0, 12 * BLOCK),
    st.integers(0, 12).map(lambda n: n * BLOCK),
    st.integers(-2 * CELL, 2 * CELL).map(lambda n: n + PAGE),
    st.integers(-2 * CELL, -1),
)
LENGTHS = st.sampled_from([BLOCK, CELL, 3 * CELL, 2 * BLOCK, 1, 513, 3 * BLOCK + 5, CELL - 1])
OPERATIONS = st.one_of(
    st.builds(Write, PLACES, LENGTHS, st.integers(0, 4)),
    st.builds(Zero, PLACES, st.one_of(LENGTHS, st.just(PAGE))),
)
SIZES = st.sampled_from([3 * CELL, 3 * CELL + 512, PAGE, PAGE + CELL + 7, 2 * PAGE, 2 * PAGE + 1, BLOCK - 1, 0])
RUNS = st.builds(Run, st.sampled_from([False, False, True]), SIZES, st.lists(OPERATIONS, max_size=10).map(tuple))
WHOLE = Write(0, 3 * CELL, 1)
CUT = [Run(True, 3 * CELL, (WHOLE,)), Run(False, BLOCK - 1, ()), Run(False, 2 * PAGE, ())]
HOLES = [Run(True, 3 * CELL, (WHOLE,)), Run(False, 3 * CELL, (Zero(70000, 513), Zero(CELL, CELL), Write(5, 5, 0)))]


def _content(write: Write) -> bytes:
    return random.Random(write.seed).randbytes(write.length) if write.seed else bytes(write.length)


async def _apply(writer: DiskWriter, model: Model, run: Run) -> None:
    for operation in run.operations:
        offset = operation.offset % max(model.size, 1)
        length = min(operation.length, model.size - offset)
        if isinstance(operation, Zero):
            await writer.zero(offset, length)
            model.zero(offset, length)
        else:
            content = _content(operation)[:length]
            await writer.data(offset, content)
            model.write(offset, content)


async def _back_up(repository: Repository, parent: str, model: Model, run: Run) -> tuple[str, Model]:
    base = (await repository.snapshot(parent)).disks["vda"] if parent and not run.full else None
    model = model.copy() if base else Model(run.size)
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(max(model.size, run.size), base)
        model.size = max(model.size, run.size)
        await _apply(writer, model, run)
        root, stored = await writer.finish(run.size)
        model.resize(run.size)
        snapshot = await backup.commit(snapshot_of(root, run.size, parent=parent if base else ""))
    assert stored <= backup.stored
    return snapshot.id, model


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@example(CUT)
@example(HOLES)
@given(st.lists(RUNS, min_size=2, max_size=4))
async def test_every_snapshot_reads_back(runs: list[Run]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = MemoryStore()
        repository = await fresh(folder, store)
        parent, model = "", Model(0)
        wanted: dict[str, Model] = {}
        for run in runs:
            parent, model = await _back_up(repository, parent, model, run)
            wanted[parent] = model
        opened = await Repository.open(store, key_file(folder))
        assert [each.id for each in await opened.snapshots()] == sorted(wanted)
        lay_out(store.objects, folder / "repo")
        for snapshot in await opened.snapshots():
            expected = wanted[snapshot.id]
            source = await opened.disk(snapshot.disks["vda"])
            assert source.size == expected.size
            assert await read_back(source) == expected.content()
            for scan in (False, True):
                restored = standalone(folder / "repo", snapshot.id, "vda", scan=scan)
                assert (restored.size, restored.content()) == (expected.size, expected.content())


@pytest.mark.parametrize("ascending", [True, False])
async def test_more_pages_than_are_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ascending: bool) -> None:
    monkeypatch.setattr("novafleet.repository.diskwriter.DRAFTS", 2)
    repository = await fresh(tmp_path)
    model = Model(6 * PAGE)
    places = [(page * PAGE + turn * CELL, page * 10 + turn + 1) for turn in range(2) for page in range(6)]
    async with repository.backup(StillClock()) as backup:
        writer = await backup.disk(model.size)
        for offset, seed in sorted(places) if ascending else places:
            content = _content(Write(offset, BLOCK, seed))
            await writer.data(offset, content)
            model.write(offset, content)
        root, _ = await writer.finish(model.size)
        snapshot = await backup.commit(snapshot_of(root, model.size))
    assert await read_back(await repository.disk(snapshot.disks["vda"])) == model.content()
