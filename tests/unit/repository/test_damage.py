"""Objects flipped, cut, dropped and swapped: the answer is the right content or a finding, never wrong content."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3

from novafleet.errors import MissingObjectError, NovaFleetError, RepositoryError
from novafleet.repository import KeySource, Repository, pack, reader
from tests.fakes.memorystore import MemoryStore
from tests.unit.repository.disks import (
    BLOCK,
    CELL,
    KEY,
    Model,
    StillClock,
    fresh,
    key_file,
    lay_out,
    read_back,
    snapshot_of,
    standalone,
)

Damage = Callable[[dict[str, bytes], str], None]


@dataclass(frozen=True)
class Sample:
    """A repository with two snapshots of one disk, and what they are."""

    objects: dict[str, bytes]
    key: KeySource
    wanted: dict[str, dict[int, bytes]]

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return asyncio.run(_made(tmp_path_factory.mktemp("sample")))


async def _made(folder: Path) -> Sample:
    store = MemoryStore()
    repository = await fresh(folder, store)
    model, base, wanted = Model(2 * CELL + 512), None, {}
    for seed in (1, 2):
        async with repository.backup(StillClock()) as backup:
            writer = await backup.disk(model.size, base.disks["vda"] if base else None)
            for offset, content in _writes(seed, model.size):
                await writer.data(offset, content)
                model.write(offset, content)
            root, _ = await writer.finish(model.size)
            base = await backup.commit(snapshot_of(root, model.size, parent=base.id if base else ""))
        wanted[base.id] = model.content()
    return Sample(store.objects, key_file(folder), wanted)


def _writes(seed: int, size: int) -> Iterator[tuple[int, bytes]]:
    if seed == 1:
        yield 0, b"text " * (size // 5)
    yield seed * BLOCK, random.Random(seed).randbytes(BLOCK)


async def _reads(objects: dict[str, bytes], sample: Sample) -> str:
    """Read everything; the code of the finding, or nothing. Fails on wrong content."""
    try:
        repository = await Repository.open(MemoryStore(objects), sample.key)
        for snapshot in await repository.snapshots():
            source = await repository.disk(snapshot.disks["vda"])
            assert await read_back(source) == sample.wanted[snapshot.id]
    except (RepositoryError, MissingObjectError) as exc:
        return exc.code
    return ""


def _reads_alone(objects: dict[str, bytes], sample: Sample, folder: Path, *, scan: bool) -> None:
    lay_out(objects, folder)
    for snapshot, wanted in sample.wanted.items():
        try:
            restored = standalone(folder, snapshot, "vda", scan=scan)
        except (reader.ReaderError, OSError, ValueError, KeyError):
            continue
        assert restored.content() == wanted


def _flip(place: float) -> Damage:
    def damage(objects: dict[str, bytes], key: str) -> None:
        content = bytearray(objects[key])
        content[int(place * (len(content) - 1))] ^= 0x10
        objects[key] = bytes(content)

    return damage


def _cut(share: float) -> Damage:
    def damage(objects: dict[str, bytes], key: str) -> None:
        objects[key] = objects[key][: int(len(objects[key]) * share)]

    return damage


def _drop(objects: dict[str, bytes], key: str) -> None:
    del objects[key]


DAMAGES: dict[str, Damage] = {
    **{f"flip {place}": _flip(place) for place in (0.0, 0.05, 0.5, 0.99)},
    **{f"cut {share}": _cut(share) for share in (0.0, 0.9)},
    "drop": _drop,
}
PREFIXES = ("config", "keys/", "packs/", "index/", "snapshots/")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_and_nothing_wrong_is_read(
    sample: Sample, tmp_path: Path, prefix: str, damage: str
) -> None:
    for number, key in enumerate(sample.keys(prefix)):
        objects = dict(sample.objects)
        DAMAGES[damage](objects, key)
        code = await _reads(objects, sample)
        if prefix not in {"packs/", "keys/"} and not (prefix == "snapshots/" and damage == "drop"):
            assert code, f"{damage} of {key} went unnoticed"
        _reads_alone(objects, sample, tmp_path / str(number), scan=bool(number % 2))


async def test_every_bit_of_a_pack_counts(sample: Sample) -> None:
    """A chunk that was flipped is named; anything else in a pack is found by its name, without a key."""
    for key in sample.keys("packs/"):
        salt, entries = await pack.entries(
            MemoryStore(sample.objects), (await _opened(sample)).keyring, key.rpartition("/")[2]
        )
        assert len(salt) == 32
        for entry in entries:
            objects = dict(sample.objects)
            content = bytearray(objects[key])
            content[entry.offset + entry.length // 2] ^= 1
            objects[key] = bytes(content)
            repository = await Repository.open(MemoryStore(objects), sample.key)
            with pytest.raises(RepositoryError) as caught:
                await repository.chunk(entry.kind, entry.id)
            assert caught.value.code == "NF-REPO-010"
            assert key in str(caught.value.where)
            assert entry.id.hex() in str(caught.value.where)
            assert blake3(content).hexdigest() not in key


async def _opened(sample: Sample) -> Repository:
    return await Repository.open(MemoryStore(sample.objects), sample.key)


@pytest.mark.parametrize("prefix", ["packs/", "snapshots/", "index/"])
async def test_swapped_objects(sample: Sample, tmp_path: Path, prefix: str) -> None:
    first, second, *_ = sample.keys(prefix)
    objects = dict(sample.objects)
    objects[first], objects[second] = objects[second], objects[first]
    code = await _reads(objects, sample)
    assert code == ("" if prefix == "index/" else "NF-REPO-010")
    _reads_alone(objects, sample, tmp_path / "swapped", scan=prefix == "index/")


@pytest.mark.parametrize("prefix", ["packs/", "snapshots/", "index/", "keys/", "config"])
async def test_objects_of_another_repository(sample: Sample, tmp_path: Path, prefix: str) -> None:
    other = MemoryStore()
    (tmp_path / "other").mkdir()
    await fresh(tmp_path / "other", other)
    async with (await Repository.open(other, sample.key)).backup(StillClock()) as backup:
        writer = await backup.disk(CELL)
        await writer.data(0, b"other" * 1000)
        await backup.commit(snapshot_of((await writer.finish(CELL))[0], CELL))
    objects = dict(sample.objects)
    mine, theirs = sample.keys(prefix), sorted(key for key in other.objects if key.startswith(prefix))
    for key, foreign in zip(mine, theirs, strict=False):
        objects[key] = other.objects[foreign]
    assert (await _reads(objects, sample)).startswith("NF-REPO-0")
    _reads_alone(objects, sample, tmp_path / "mixed", scan=False)


async def test_a_second_copy_of_a_chunk_heals_the_first(sample: Sample) -> None:
    """Two packs with the same chunk: when one is damaged the other serves."""
    store = MemoryStore(sample.objects)
    repository = await Repository.open(store, sample.key)
    index = await repository.index()
    snapshot = (await repository.snapshots())[0]
    place = index.locations(bytes.fromhex(snapshot.disks["vda"].root))[0]
    async with repository.backup(StillClock()) as backup:
        avoided = frozenset({place.pack})
        backup._pipeline._sealer._avoid = avoided  # what a collection would have condemned
        writer = await backup.disk(snapshot.size, snapshot.disks["vda"])
        root, _ = await writer.finish(snapshot.size)
        await backup.commit(snapshot_of(root, snapshot.size, parent=snapshot.id))
    assert root == snapshot.disks["vda"].root
    assert len((await repository.index(again=True)).locations(bytes.fromhex(root))) >= 2
    _flip(0.5)(store.objects, pack.key_of(place.pack))
    assert (await repository.root(snapshot.disks["vda"])).size == snapshot.size


async def test_a_newer_format_is_refused(sample: Sample) -> None:
    objects = dict(sample.objects)
    objects["config"] = objects["config"].replace(b'"version": 1', b'"version": 2')
    assert await _reads(objects, sample) == "NF-REPO-004"
    for key in (*sample.keys("index/"), *sample.keys("snapshots/")):
        objects = dict(sample.objects)
        objects[key] = objects[key][:6] + b"\2\0" + objects[key][8:]
        assert await _reads(objects, sample) == "NF-REPO-004"


async def test_a_wrong_key_says_so_and_nothing_else(sample: Sample, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"another secret of quite some length, surely")
    with pytest.raises(NovaFleetError) as caught:
        await Repository.open(MemoryStore(sample.objects), KeySource(file=wrong))
    assert caught.value.code == "NF-REPO-005"
    assert "secret" not in str(caught.value.finding())
    assert reader.main([str(lay_out(sample.objects, tmp_path / "r")), "--key-file", str(wrong), "ls"]) == 1


async def test_one_damaged_snapshot_hides_no_other(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sample.keys("snapshots/")
    objects = dict(sample.objects)
    _flip(0.5)(objects, first)
    repository = await Repository.open(MemoryStore(objects), sample.key)
    found, damage = await repository.readable()
    assert [each.id for each in found] == [second.rpartition("/")[2]]
    assert [each.code for each in damage] == ["NF-REPO-010"]
    assert first in str(damage[0].where)
    with pytest.raises(RepositoryError):
        await repository.snapshots()
    key = tmp_path / "key"
    key.write_bytes(KEY)
    assert reader.main([str(lay_out(objects, tmp_path / "r")), "--key-file", str(key), "ls"]) == 0
    listed, told = capsys.readouterr()
    assert [line[:26] for line in listed.splitlines()] == [second.rpartition("/")[2]]
    assert first in told


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1e999}', b"[" * 100_000, b"\xff\xfe"])
async def test_whatever_config_holds(sample: Sample, tmp_path: Path, content: bytes) -> None:
    objects = {**sample.objects, "config": content}
    assert await _reads(objects, sample) == "NF-REPO-006"
    key = tmp_path / "key"
    key.write_bytes(KEY)
    if len(content) < 100_000:
        assert reader.main([str(lay_out(objects, tmp_path / "r")), "--key-file", str(key), "ls"]) == 1
