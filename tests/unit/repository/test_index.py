"""The index against a dictionary: loaded in segments, added to while written, asked in between."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import RepositoryError, SpaceError
from novafleet.model.secret import Secret
from novafleet.repository import index
from novafleet.repository.compress import Codec
from novafleet.repository.index import Index, Location, Packed
from novafleet.repository.pack import Entry
from novafleet.repository.seal import Keyring, Kind

KEYRING = Keyring(Secret.of(bytes(32)), "00" * 16)


def _packs(seed: int, count: int, names: int) -> list[Packed]:
    """Packs of up to 40 chunks out of ``names`` different ones."""
    dice = random.Random(seed)
    return [
        Packed(
            dice.randbytes(32).hex(), dice.randbytes(32), tuple(_entry(dice, names) for _ in range(dice.randint(1, 40)))
        )
        for _ in range(count)
    ]


def _entry(dice: random.Random, names: int) -> Entry:
    chunk = random.Random(dice.randrange(names)).randbytes(32)
    kind, codec = dice.choice([Kind.DATA, Kind.PAGE]), dice.choice(list(Codec))
    return Entry(chunk, kind, codec, dice.randrange(1 << 32), dice.randrange(1 << 32), dice.randrange(1 << 32))


def _places(packed: Packed) -> dict[bytes, set[Location]]:
    found = defaultdict(set)
    for each in packed.entries:
        place = Location(packed.name, packed.salt, each.offset, each.length, each.size, each.kind, each.codec)
        found[each.id].add(place)
    return found


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 1 << 20), st.integers(1, 4)), max_size=8)


@settings(max_examples=20, deadline=None)
@given(STEPS, st.sampled_from([5, 1000]))
def test_it_finds_what_was_put_in(steps: list[tuple[bool, int, int]], names: int) -> None:
    table, wanted = Index(), defaultdict[bytes, set[Location]](set)
    for load, seed, count in steps:
        packs = _packs(seed, count, names)
        if load:
            table.load(*index.unseal(index.encode(packs, KEYRING), KEYRING, "x"))
        for packed in packs:
            if not load:
                table.add(packed)
            for chunk, places in _places(packed).items():
                wanted[chunk] |= places
        for chunk in list(wanted)[:20]:
            assert set(table.locations(chunk)) <= wanted[chunk]
            assert table.locations(chunk)
    assert table.locations(bytes(32)) == ()
    assert table.packs() == {place.pack for places in wanted.values() for place in places}


def test_all_places_of_a_chunk_are_known_once_loaded() -> None:
    table, packs = Index(), _packs(1, 20, 7)
    for first in range(0, 20, 5):
        table.load(*index.unseal(index.encode(packs[first : first + 5], KEYRING), KEYRING, "x"))
    wanted = defaultdict(set)
    for packed in packs:
        for chunk, places in _places(packed).items():
            wanted[chunk] |= places
    assert {chunk: set(table.locations(chunk)) for chunk in wanted} == wanted


def test_many_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FLUSH", 50)
    table, packs = Index(), _packs(3, 30, 10_000_000)
    for packed in packs:
        table.add(packed)
    for packed in packs:
        for chunk, places in _places(packed).items():
            assert places <= set(table.locations(chunk))
    assert table.chunks == sum(len(packed.entries) for packed in packs)


def test_a_segment_reads_back_whole() -> None:
    packs = _packs(2, 5, 1000)
    read = list(index.packed(*index.unseal(index.encode(packs, KEYRING), KEYRING, "x")))
    assert [(each.name, each.salt, set(each.entries)) for each in read] == [
        (each.name, each.salt, set(each.entries)) for each in packs
    ]


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\1\0\0\0\1\0\0\0", b"\xff" * 200])
def test_a_segment_of_another_shape_is_refused(content: bytes) -> None:
    sealed = KEYRING.seal(b"NFINDX", Kind.INDEX, content)
    with pytest.raises(RepositoryError) as caught:
        index.unseal(sealed, KEYRING, "x")
    assert caught.value.code == "NF-REPO-010"


def test_no_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SpaceError, match="temporary"):
        Index()
