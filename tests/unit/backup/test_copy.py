"""Whatever a guest does between backups, every snapshot reads back bit by bit; and only what changed is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.capability.backup.read import Pace, Reading, copy
from novafleet.model.backup import Snapshot
from novafleet.repository import Repository
from tests.unit.backup.disk import GRANULARITY, MemoryDisk
from tests.unit.repository.disks import StillClock, fresh, snapshot_of

SIZE = 3 * (1 << 20) + 4096
KIB = 1 << 10


class CountingClock(StillClock):
    """Says how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


@dataclass(frozen=True)
class Act:
    """``write`` (``fill`` 0: zeroes), ``discard``, ``grow``, or a backup: ``incremental``, ``whole``, ``full``."""

    verb: str
    offset: int = 0
    length: int = 0
    fill: int = 0


def _pace() -> Pace:
    return Pace(CountingClock(), 0)


async def back_up(repository: Repository, disk: MemoryDisk, parent: Snapshot | None, *, changes: bool) -> Snapshot:
    """One snapshot of one disk."""
    before = parent.disks["vda"] if parent else None
    reading = Reading(_pace(), lambda _done, _size: None, changes, before.size if before else 0)
    async with repository.backup(StillClock()) as store:
        writer = await store.disk(disk.size, before)
        await copy(disk, disk.size, writer, reading)
        root, _ = await writer.finish(disk.size)
        made = await store.commit(snapshot_of(root, disk.size, parent=parent.id if parent else ""))
    disk.checkpoint()
    return made


async def content(repository: Repository, snapshot: Snapshot) -> bytes:
    """The whole disk."""
    return await (await repository.disk(snapshot.disks["vda"])).read(0, snapshot.size)


EXTENT = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 400 * KIB))
ACTS = st.lists(
    st.one_of(
        st.builds(lambda at, fill: Act("write", at[0], at[1], fill), EXTENT, st.integers(0, 255)),
        st.builds(lambda at: Act("discard", at[0], at[1]), EXTENT),
        st.builds(lambda length: Act("grow", length=length), st.sampled_from((4096, 65536, 700_000))),
        st.sampled_from((Act("incremental"), Act("incremental"), Act("whole"), Act("full"))),
    ),
    min_size=3,
    max_size=14,
)


async def _play(acts: list[Act], folder: Path) -> None:
    repository, disk = await fresh(folder), MemoryDisk(SIZE)
    parent: Snapshot | None = None
    taken: list[tuple[Snapshot, bytes]] = []
    for act in [*acts, Act("incremental")]:
        end = min(act.offset + act.length, disk.size)
        if act.verb == "write":
            disk.write(act.offset, bytes([act.fill]) * (end - act.offset))
        elif act.verb == "discard":
            disk.discard(act.offset, end - act.offset)
        elif act.verb == "grow":
            disk.grow(disk.size + act.length)
        else:
            inherited = None if act.verb == "full" else parent
            changes = act.verb == "incremental" and parent is not None
            parent = await back_up(repository, disk, inherited, changes=changes)
            taken.append((parent, bytes(disk.content)))
    for copied, was in taken:
        assert await content(repository, copied) == was


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTS)
async def test_every_snapshot_is_what_the_disk_was(acts: list[Act]) -> None:
    with TemporaryDirectory() as folder:
        await _play(acts, Path(folder))


async def test_zeroes_are_said_not_read(tmp_path: Path) -> None:
    repository, disk = await fresh(tmp_path), MemoryDisk(SIZE)
    disk.write(0, b"x" * (1 << 20))
    first = await back_up(repository, disk, None, changes=False)
    disk.discard(0, 512 * KIB)
    disk.reads.clear()
    second = await back_up(repository, disk, first, changes=True)
    assert disk.reads == []
    assert await content(repository, second) == bytes(disk.content)


async def test_only_what_changed_is_read(tmp_path: Path) -> None:
    repository, disk = await fresh(tmp_path), MemoryDisk(SIZE)
    disk.write(0, bytes(range(256)) * (SIZE // 256))
    first = await back_up(repository, disk, None, changes=False)
    disk.write(1 << 20, b"y" * GRANULARITY)
    disk.reads.clear()
    await back_up(repository, disk, first, changes=True)
    assert disk.reads == [(1 << 20, GRANULARITY)]


async def test_the_end_of_a_grown_disk_is_read_though_no_bitmap_says_so(tmp_path: Path) -> None:
    repository, disk = await fresh(tmp_path), MemoryDisk(SIZE)
    first = await back_up(repository, disk, None, changes=False)
    disk.grow(SIZE + (1 << 20))
    disk.write(SIZE, b"z" * (1 << 20))
    disk.checkpoint()
    second = await back_up(repository, disk, first, changes=True)
    assert await content(repository, second) == bytes(disk.content)


@pytest.mark.parametrize(("bandwidth", "slept"), [(0, 0.0), (1 << 20, 6.0)])
async def test_no_faster_than_allowed(bandwidth: int, slept: float) -> None:
    clock = CountingClock()
    pace = Pace(clock, bandwidth)
    for _ in range(4):
        await pace.take(1 << 20)
    assert clock.slept == pytest.approx(slept)  # 0 + 1 + 2 + 3: this clock stands still
