"""The pure parts of copies: pieces, differences, definitions, records."""

from __future__ import annotations

import json
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.capability.migration import follow
from novafleet.capability.migration.definition import arriving, booting
from novafleet.capability.migration.manifest import Made, parse, refuse_unprintable
from novafleet.capability.migration.pieces import PIECE, Layout, Piece, batches, cut, layouts, total
from novafleet.capability.migration.presync import pour, unequal
from novafleet.errors import MigrationError
from novafleet.model.migration import Mode, Move, MoveDisk, MoveFile, Path, Wanted
from tests.unit.nbd.memory import CELL, MemoryDisk

RUNS = st.lists(st.tuples(st.integers(0, 1 << 34), st.integers(1, 1 << 28)), max_size=12)


def layout(runs: list[tuple[int, int]]) -> Layout:
    at, found = 0, []
    for gap, length in runs:
        found.append(Piece(at + gap, length))
        at += gap + length
    return Layout(at, tuple(found))


@given(RUNS, RUNS)
@settings(max_examples=60, deadline=None)
def test_pieces_cover_all_data_of_both_files_once(here: list[tuple[int, int]], there: list[tuple[int, int]]) -> None:
    one, other = layout(here), layout(there)
    pieces = cut(one, other)
    assert all(
        piece.length > 0 and piece.offset // PIECE == (piece.offset + piece.length - 1) // PIECE for piece in pieces
    )
    assert all(a.offset + a.length <= b.offset for a, b in pairwise(pieces))
    for run in (*one.data, *other.data):
        inside = sum(
            max(0, min(p.offset + p.length, run.offset + run.length) - max(p.offset, run.offset)) for p in pieces
        )
        assert inside == run.length
    assert [piece for batch in batches(pieces) for piece in batch] == list(pieces)
    assert total(pieces) >= total(one.data)


def test_a_host_is_not_believed() -> None:
    good = json.dumps([{"start": 0, "length": 5, "data": True}, {"start": 5, "length": 600, "data": False}])
    codec, found = layouts(f"M codec zstd\nM file 7\n{good}\nM none\n", "M")
    assert (codec, found) == ("zstd", (Layout(7, (Piece(0, 5),)), Layout(-1)))
    for bad in (
        "[{}]",
        "x",
        '[{"start": -1, "length": 5, "data": true}]',
        '[{"start": "a", "length": 5, "data": true}]',
    ):
        with pytest.raises(MigrationError):
            layouts(f"M file 7\n{bad}", "M")


CELLS = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=16, max_size=48)


def disk(cells: list[int]) -> MemoryDisk:
    return MemoryDisk(b"".join(bytes([cell]) * (16 * CELL) for cell in cells))


@given(CELLS, st.data())
@settings(max_examples=15, deadline=None)
async def test_a_target_becomes_its_source_and_what_is_equal_is_not_written(
    cells: list[int], data: st.DataObject
) -> None:
    source = disk(cells)
    target = disk(data.draw(st.lists(st.sampled_from([0, 1, 2]), min_size=len(cells), max_size=len(cells))))
    equal = [at for at in range(0, source.size, 16 * CELL) if source.content[at] == target.content[at] != 0]
    written: list[tuple[int, int]] = []
    write = target.write

    async def noted(offset: int, data: bytes) -> None:
        written.append((offset, offset + len(data)))
        await write(offset, data)

    target.write = noted  # type: ignore[method-assign]
    await pour(source, target, lambda _: None)
    assert target.content == source.content
    assert target.flushed
    assert not any(start <= at < end for at in equal for start, end in written)


def test_differences_are_told_in_runs() -> None:
    grain = 64 << 10
    wanted = bytes(grain) + b"a" * (2 * grain) + bytes(grain) + b"b" * 100
    found = bytes(len(wanted))
    assert [(at, len(data)) for at, data in unequal(7, wanted, found)] == [(7 + grain, 2 * grain), (7 + 4 * grain, 100)]
    assert list(unequal(0, wanted, wanted)) == []


XML = """<domain type='kvm' id='3'><name>v</name><os><type arch='x86_64' machine='pc-i440fx-10.0'>hvm</type>
<kernel>/a/k</kernel><nvram>/a/v.fd</nvram></os><devices>
<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='p' volume='x' index='1'/>
<backingStore type='file'><source file='/a/b'/></backingStore><target dev='vda'/></disk>
<disk type='file' device='cdrom'><source file='/a/seed.iso'/><target dev='sda'/></disk>
<interface type='network'><source network='lan'/></interface></devices></domain>"""


def move() -> Move:
    disks = (MoveDisk("vda", "/a/x", "/b/x", "qcow2", 1, 1),)
    files = tuple(
        MoveFile(kind, f"/a/{name}", f"/b/{name}", 1) for kind, name in (("cdrom", "seed.iso"), ("kernel", "k"))
    )
    wanted = Wanted(networks={"lan": "net"})
    known = ("j", "v", "v", "u", "", "a", "b", True, (Mode.COLD,), Path.RELAY, XML)
    return Move(*known, disks=disks, files=files, wanted=wanted)


def test_the_destinations_definition_names_its_own_files() -> None:
    root = ElementTree.fromstring(arriving(move(), XML))
    first, second = root.findall("devices/disk")
    source = first.find("source")
    assert source is not None
    assert (first.get("type"), source.attrib, first.find("backingStore")) == ("file", {"file": "/b/x"}, None)
    assert second.find("source[@file='/b/seed.iso']") is not None
    assert (root.findtext("os/kernel"), root.findtext("os/nvram")) == ("/b/k", "/a/v.fd")
    assert root.find("devices/interface/source[@network='net']") is not None
    assert root.get("id") is None
    with pytest.raises(MigrationError):
        arriving(move(), "<domain")


def test_an_older_host_boots_it_with_the_newest_machine_of_its_kind() -> None:
    guest = "<guest><arch name='x86_64'><machine>{}</machine></arch></guest>"
    able = f"<capabilities><host><uuid>x</uuid></host>{guest}</capabilities>"
    known = ElementTree.fromstring(booting(XML, able.format("pc"))).find("os/type")
    assert known is not None
    assert known.get("machine") == "pc"
    same = ElementTree.fromstring(booting(XML, able.format("pc-i440fx-10.0"))).find(
        "os/type[@machine='pc-i440fx-10.0']"
    )
    assert same is not None
    with pytest.raises(MigrationError) as caught:
        booting(XML, able.format("q35"))
    assert caught.value.code == "NF-MIG-405"


def test_snapshots_say_where_their_images_are_now() -> None:
    text = (
        '<domainsnapshot><description>{"images": {"vda": "/a/x"}}</description><source file=\'/a/x\'/></domainsnapshot>'
    )
    moved = follow.relocated(text, {"/a/x": "/b/x"})
    assert "/a/x" not in moved
    assert moved.count("/b/x") == 2


def test_a_manifest_is_read_as_it_was_written() -> None:
    found = parse("job uuid dom\nfile 1:2 /a b/c\nbeside - /n\nlease net <host mac='x'/>\nbroken\n")
    assert found is not None
    assert found.made == (
        Made("file", "1:2", "/a b/c"),
        Made("beside", "-", "/n"),
        Made("lease", "net", "<host mac='x'/>"),
    )
    assert parse("") is None
    with pytest.raises(MigrationError):
        refuse_unprintable(["/a\nfile 1:2 /etc"])
