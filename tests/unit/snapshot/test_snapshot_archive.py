"""A VM with its snapshots to a file and back: real images, a real shell, tar and zstd; libvirt is the fake."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import zstandard

from novafleet.capability.snapshot import manifest, xml
from novafleet.capability.snapshot.archive import SUMS, Reader, Writer, created
from novafleet.capability.snapshot.arrive import Images, Place
from novafleet.capability.snapshot.export import export
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.land import land, sweep
from novafleet.errors import NovaFleetError, SnapshotError
from tests.unit.snapshot.machine import NAME, Context, CutOffError, Cutting, Fuse, Machine, needs_qemu, qemu_img

pytestmark = [
    needs_qemu,
    pytest.mark.skipif(not shutil.which("zstd"), reason="not installed: zstd"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a host's root unpacks; this is not root"),
]
COPY = "copy"
NEW_UUID = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"


async def branched(folder: Path) -> Machine:
    """a - b, and c beside b; what each holds is its own."""
    vm = empty(folder)
    await vm.make()
    for number, name in enumerate(("a", "b"), start=1):
        await vm.write(number, number)
        await vm.create(name)
    await vm.revert("a")
    await vm.write(3, 3)
    await vm.create("c")
    await vm.write(4, 4)
    return vm


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of the VM above."""
    folder = tmp_path_factory.mktemp("archive")

    async def make() -> None:
        await exported(await branched(folder / "one"), folder / "vm.nfvm")

    asyncio.run(make())
    return (folder / "vm.nfvm").read_bytes()


@pytest.fixture
def path(tmp_path: Path, archive: bytes) -> Path:
    """A file of its own."""
    made = tmp_path / "vm.nfvm"
    made.write_bytes(archive)
    return made


async def exported(vm: Machine, path: Path, *names: str, fuse: Fuse | None = None) -> Any:
    fuse = fuse or Fuse()
    context = Context(Cutting(vm.session, fuse), Cutting(vm.libvirt, fuse))
    words = {"label": f"local/{NAME}", "domain": NAME, "mode": "crash", "require": "", "token": vm.token()}
    return await export(context, {**words, "names": list(names), "path": str(path), "now": 1e9}, Freezer())  # type: ignore[arg-type]


def place(vm: Machine, targets: Collection[str], *, copy: bool = True) -> Place:
    stems = {"vda": f"{vm.folder}/{COPY}.vda.qcow2", "vdb": f"{vm.folder}/{COPY}.vdb.img"}
    stems = {target: path for target, path in stems.items() if target in targets}
    return Place(NAME, f"{vm.folder}/.nf-import-1", stems, copy)


def fit(text: str, images: Images) -> str:
    root = xml.on_images(xml.parse(text), images)
    for found in root.findall("uuid"):
        found.text = NEW_UUID
    return xml.text_of(root)


async def imported(vm: Machine, path: Path, *, fuse: Fuse | None = None, copy: bool = True) -> Any:
    fuse = fuse or Fuse()
    context: Any = Context(Cutting(vm.session, fuse), Cutting(vm.libvirt, fuse))
    with path.open("rb") as file:
        reader = Reader(file, str(path))
        told = manifest.read(reader.read(manifest.NAME), str(path))
        await sweep(context, told, place(vm, told.active, copy=copy))
        return await land(context, reader, told, place(vm, told.active, copy=copy), fit)


def empty(folder: Path) -> Machine:
    folder.mkdir()
    return Machine(folder)


async def nothing_left(vm: Machine) -> bool:
    return not vm.files() and not await vm.libvirt.domains()


async def test_what_comes_back_is_what_went(tmp_path: Path) -> None:
    vm = await branched(tmp_path / "one")
    before, files = await vm.contents(), vm.files()
    told = await exported(vm, tmp_path / "vm.nfvm")
    assert (await vm.contents(), vm.files()) == (before, files), "an export leaves the VM as it was"
    assert told["snapshots"] == ["a", "b", "c"]
    assert (tmp_path / "vm.nfvm").stat().st_mode & 0o777 == 0o600

    other = empty(tmp_path / "two")
    landed = await imported(other, tmp_path / "vm.nfvm")
    assert await other.contents() == before
    assert landed["uuid"] == NEW_UUID
    seen = await other.seen()
    assert {each.name: each.fact.parent for each in seen.snapshots} == {"a": "", "b": "a", "c": "a"}
    assert seen.current == "c"
    assert all(f"{other.folder}/copy." in path for path in seen.images)
    assert not list(other.folder.glob(".nf-import*"))
    await other.revert("b")
    assert (await other.contents())[""] == before["b"]
    await other.remove("a", "b", "c")
    assert (await other.contents())[""] == before["b"]
    assert other.files() == ["copy.vda.qcow2", "copy.vdb.img"]


async def test_some_of_its_snapshots(tmp_path: Path) -> None:
    vm = await branched(tmp_path / "one")
    before = await vm.contents()
    await exported(vm, tmp_path / "vm.nfvm", "c")
    other = empty(tmp_path / "two")
    await imported(other, tmp_path / "vm.nfvm")
    assert await other.contents() == {"": before[""], "c": before["c"]}
    assert {each.name: each.fact.parent for each in (await other.seen()).snapshots} == {"c": ""}
    with pytest.raises(SnapshotError, match="no snapshot d"):
        await exported(vm, tmp_path / "more.nfvm", "d")


async def test_holes_are_never_filled(tmp_path: Path) -> None:
    vm = empty(tmp_path / "one")
    vm.lean = True
    await vm.make()
    raw = vm.folder / "vdb.img"
    os.truncate(raw, 1 << 40)
    with raw.open("r+b") as disk:
        disk.seek(777 << 30)
        disk.write(b"here" * 1024)
    told = await exported(vm, tmp_path / "vm.nfvm")
    assert told["bytes"] < 64 << 10
    other = empty(tmp_path / "two")
    with (tmp_path / "vm.nfvm").open("rb") as file:
        reader = Reader(file, "x")
        known = manifest.read(reader.read(manifest.NAME), "x")
        where = Place(NAME, f"{other.folder}/.i", {"vdb": f"{other.folder}/vdb.img"}, copy=True)
        await land(Context(other.session, other.libvirt), reader, known, where, fit)  # type: ignore[arg-type]
    landed = (other.folder / "vdb.img").stat()
    assert landed.st_size == 1 << 40
    assert landed.st_blocks * 512 < 1 << 20
    with (other.folder / "vdb.img").open("rb") as disk:
        disk.seek(777 << 30)
        assert disk.read(8) == b"herehere"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def unpacked_by_hand(folder: Path) -> Path:
    out = folder / "out"
    out.mkdir()
    script = """tar -xf ../vm.nfvm && sha256sum --quiet -c SHA256SUMS || exit
    for each in images/*.tar.zst; do zstd -q -dc "$each" | tar -xSf - || exit; done"""
    subprocess.run(["sh", "-c", script], cwd=out, check=True)
    return out


async def test_it_can_be_unpacked_with_tar_zstd_and_qemu_img_alone(tmp_path: Path) -> None:
    vm = await branched(tmp_path / "one")
    before = await vm.contents()
    await exported(vm, tmp_path / "vm.nfvm")
    out = unpacked_by_hand(tmp_path)
    told = json.loads((out / "manifest.json").read_text())
    images = {each["part"]["member"]: each for each in told["images"]}
    for each in images.values():
        if each["backing"]:
            below = images[each["backing"]]
            words = ("-b", str(out / below["part"]["file"]), "-F", below["format"], str(out / each["part"]["file"]))
            qemu_img("rebase", "-u", "-f", "qcow2", *words)
    wanted = {"": told["active"], **{each["name"]: each["images"] for each in told["snapshots"]}}
    for name, disks in wanted.items():
        for member in disks.values():
            image = images[member]
            assert vm.read(str(out / image["part"]["file"]), image["format"]) == before[name]


async def test_a_killed_export_blocks_nothing(tmp_path: Path) -> None:
    vm = empty(tmp_path / "one")
    vm.lean = True
    await vm.make()
    await vm.write(1, 1)
    await vm.create("a")
    await vm.write(2, 2)
    before, files = await vm.contents(), vm.files()
    path = tmp_path / "vm.nfvm"
    for left in (4, 9, 12):
        with pytest.raises(CutOffError):
            await exported(vm, path, fuse=Fuse(left))
        assert not path.exists()
        now = await vm.contents()
        assert {name: now[name] for name in before} == before
    put(tmp_path / ".vm.nfvm.nf-part", b"what a killed one left")
    await exported(vm, path)
    assert (await vm.contents(), vm.files()) == (before, files)
    assert names(tmp_path) == ["one", "vm.nfvm"]
    with pytest.raises(SnapshotError) as refused:
        await exported(vm, path)
    assert refused.value.code == "NF-SNAP-011"
    assert (await vm.contents(), vm.files()) == (before, files)


async def test_a_killed_import_blocks_nothing(tmp_path: Path) -> None:
    vm = empty(tmp_path / "one")
    vm.lean = True
    await vm.make()
    await vm.write(1, 1)
    await vm.create("a")
    await vm.write(2, 2)
    wanted, path = await vm.contents(), tmp_path / "vm.nfvm"
    await exported(vm, path)
    fuse, cut = Fuse(1_000), 0
    await imported(empty(tmp_path / "whole"), path, fuse=fuse)
    calls = 1_000 - fuse.left
    for left in range(2, calls, 2):  # after the last one the VM is complete
        other = empty(tmp_path / f"to{left}")
        with pytest.raises(CutOffError):
            await imported(other, path, fuse=Fuse(left, before=left % 4 == 0))
        await imported(other, path)
        assert await other.contents() == wanted, left
        assert not list(other.folder.glob(".nf-import*"))
        cut += 1
    assert cut >= 8


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def test_whatever_byte_is_damaged_it_is_found_before_libvirt_hears_of_it(
    tmp_path: Path, path: Path, archive: bytes
) -> None:
    other = empty(tmp_path / "two")
    with tarfile.open(path) as members:
        places = [member.offset_data + member.size // 2 for member in members]
    assert len(places) > 8
    for at in places:
        put(path, archive[:at] + bytes((archive[at] ^ 1,)) + archive[at + 1 :])
        with pytest.raises(SnapshotError) as refused:
            await imported(other, path)
        assert refused.value.code == "NF-SNAP-010"
        assert await nothing_left(other), at
    for length in (0, 100, len(archive) // 2, len(archive) - 3000):
        put(path, archive[:length])
        with pytest.raises(SnapshotError) as refused:
            await imported(other, path)
        assert refused.value.code == "NF-SNAP-010"


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The archive with other contents, its digests right: what somebody would make on purpose."""
    with path.open("rb") as file:
        reader = Reader(file, "x")
        parts = {name: b"".join(reader.unpacked(name)) for name in reader.names if name.endswith(".zst")}
        texts = {name: reader.read(name) for name in reader.names - parts.keys() - {SUMS}}
    path.unlink()
    with created(path) as file:
        writer = Writer(file)
        for name, content in sorted(texts.items()):
            writer.put(name, change(name, content))
        for name, content in sorted(parts.items()):
            writer.begin(name)
            writer.write(change(name, content))
            writer.end()
        writer.finish()


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def link(kind: bytes, target: str) -> bytes:
    info = tarfile.TarInfo("vda.0.qcow2")
    info.type, info.linkname = kind, target
    return tar_of((info, b""))


def image(tmp_path: Path, *options: str) -> bytes:
    path = tmp_path / "odd.qcow2"
    path.unlink(missing_ok=True)
    qemu_img("create", "-q", "-f", "qcow2", *options, str(path), "1M")
    info = tarfile.TarInfo("vda.0.qcow2")
    return tar_of((info, path.read_bytes()))


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "device", "backing", "data", "other", "huge"])
async def test_an_archive_cannot_make_a_host_give_away_its_files(tmp_path: Path, path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 512)
    bad = {
        "symlink": lambda: link(tarfile.SYMTYPE, str(secret)),
        "hardlink": lambda: link(tarfile.LNKTYPE, str(secret)),
        "device": lambda: link(tarfile.FIFOTYPE, ""),
        "backing": lambda: image(tmp_path, "-b", str(secret), "-F", "raw"),
        "data": lambda: image(tmp_path, "-o", f"data_file={tmp_path}/data"),
        "other": lambda: tar_of((tarfile.TarInfo("../escaped"), b"x")),
        "huge": lambda: tar_of((tarfile.TarInfo("vda.0.qcow2"), bytes(80 << 20))),
    }[kind]()
    rewritten(path, lambda name, content: bad if name == "images/vda.0.qcow2.tar.zst" else content)
    other = empty(tmp_path / "two")
    with pytest.raises(SnapshotError) as refused:
        await imported(other, path)
    assert refused.value.code in ("NF-SNAP-012", "NF-SNAP-010")
    assert await nothing_left(other)
    assert not (tmp_path / "escaped").exists()
    assert secret.read_bytes() == b"s" * 512


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"token": "', b'"token": "../'),
        (b'"file": "vda.0.qcow2"', b'"file": "../vda"'),
        (b'"version": 1', b'"version": 2'),
        (b'"target": "vda"', b'"target": "vdb"'),
        (b'"format": "raw"', b'"format": "vmdk"'),
        (b'"parent": "a"', b'"parent": "z"'),
        (b'"size": 1048576', b'"size": "1048576"'),
        (b'"active"', b'"inactive"'),
    ],
)
async def test_a_manifest_that_does_not_hold_together_is_refused(
    tmp_path: Path, path: Path, old: bytes, new: bytes
) -> None:
    rewritten(path, lambda name, content: content.replace(old, new) if name == manifest.NAME else content)
    other = empty(tmp_path / "two")
    with pytest.raises(SnapshotError) as refused:
        await imported(other, path)
    assert refused.value.code == "NF-SNAP-010"
    assert await nothing_left(other)


async def test_a_snapshot_of_a_disk_that_was_detached_since_is_refused(tmp_path: Path) -> None:
    vm = await branched(tmp_path / "one")
    tree = xml.parse((await vm.libvirt.domain(NAME)).xml)
    for devices in tree.iterfind("devices"):
        devices.remove(devices.findall("disk")[1])
    await vm.libvirt.define_domain(xml.text_of(tree))
    with pytest.raises(SnapshotError, match="cannot go into an archive"):
        await exported(vm, tmp_path / "vm.nfvm")


async def test_what_is_in_the_way_stays(tmp_path: Path, path: Path) -> None:
    other = empty(tmp_path / "two")
    theirs = other.folder / "copy.vdb.img"
    theirs.write_bytes(b"mine")
    with pytest.raises(NovaFleetError) as refused:
        await imported(other, path)
    assert refused.value.code == "NF-SNAP-013"
    assert other.files() == ["copy.vdb.img"]
    assert theirs.read_bytes() == b"mine"


def test_a_writer_makes_a_tar_that_tar_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with created(path) as file:
        writer = Writer(file)
        writer.put("one", b"1" * 700)
        writer.begin("two.tar.zst")
        writer.write(b"2" * 100_000)
        writer.end()
        size = writer.finish()
    assert path.stat().st_size == size
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [each.name for each in members] == ["one", "two.tar.zst", SUMS]
        content = archive.extractfile(members[1])
        assert content is not None
        assert zstandard.ZstdDecompressor().stream_reader(content).read(200_000) == b"2" * 100_000
