"""Snapshots inside images: when, and that nothing is lost when overlays come to lie over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from novafleet.capability.snapshot.look import Survey
from novafleet.capability.snapshot.plan import choose
from novafleet.capability.snapshot.xml import Disk
from novafleet.errors import SnapshotError
from novafleet.model.facts import Domain
from tests.unit.snapshot.machine import NAME, Machine, needs_qemu, qemu_img
from tests.unit.snapshot.test_snapshot_archive import empty, exported, imported

QCOW2 = {"vda": Disk("vda", "root", "file", "/i/a.qcow2", "qcow2")}
RAW = {"vdb": Disk("vdb", "data", "file", "/i/b.img", "raw")}
OVER = {"vda": Disk("vda", "root", "file", "/i/a.qcow2.nf-00000001", "qcow2")}


@pytest.mark.parametrize(
    ("disks", "state", "mode", "extras", "kind", "because"),
    [
        (QCOW2, "shutoff", "fs", (), "internal", "the VM is off"),
        (QCOW2, "running", "fs", (), "external", "the VM runs"),
        (QCOW2, "running", "live", (), "external", "stand still"),
        ({**QCOW2, **RAW}, "shutoff", "fs", (), "external", "disk data is raw"),
        (OVER, "shutoff", "fs", (), "external", "on the overlay of another"),
        (QCOW2, "shutoff", "fs", ("/nvram",), "external", "UEFI variables"),
    ],
)
def test_what_auto_chooses_and_why(
    disks: Mapping[str, Disk], state: str, mode: str, extras: tuple[str, ...], kind: str, because: str
) -> None:
    seen = Survey(Domain("db", "u", state, "<domain/>"), disks, (), extras=extras)
    chosen, why = choose(seen, mode, "auto")
    assert (chosen, because in why) == (kind, True), why
    assert choose(seen, mode, "external")[0] == "external"
    if kind == "external" and mode != "live":
        with pytest.raises(SnapshotError) as refused:
            choose(seen, mode, "internal")
        assert refused.value.code == "NF-SNAP-014"
        assert because in refused.value.cause
    else:
        assert choose(seen, mode, "internal")[0] == "internal"


CHECKPOINT = """<domaincheckpoint><name>nf-backup-1</name><disks><disk name="vda" checkpoint="bitmap"/></disks>
<creationTime>1</creationTime></domaincheckpoint>"""


async def machine(folder: Path) -> Machine:
    vm = Machine(folder, form="qcow2")
    await vm.make()
    return vm


async def current(vm: Machine) -> list[int]:
    return (await vm.contents())[""]


async def choice(vm: Machine, name: str) -> tuple[str, str]:
    taken = (await vm.seen()).find(name)
    assert taken is not None
    assert taken.note is not None
    return taken.kind, taken.note.choice


@needs_qemu
async def test_a_vm_that_is_off_keeps_them_inside(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    held = {}
    for number, name in enumerate(("a", "b", "c"), start=1):
        await vm.write(number, number)
        await vm.create(name)
        held[name] = await current(vm)
    await vm.write(9, 9)
    assert (await choice(vm, "b"))[0] == "internal"
    assert vm.files() == ["vda.qcow2", "vdb.img"]
    for name in ("a", "c", "b"):
        await vm.revert(name)
        assert await current(vm) == held[name]
    await vm.remove("b")
    await vm.revert("c")
    assert await current(vm) == held["c"]
    await vm.remove("a", "c")
    assert await current(vm) == held["c"]
    assert vm.files() == ["vda.qcow2", "vdb.img"]


@needs_qemu
async def test_going_back_leaves_no_record_of_changes_that_would_be_wrong(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.write(1, 1)
    await vm.create("a")
    held = await current(vm)
    for image in ("vda.qcow2", "vdb.img"):
        qemu_img("bitmap", "--add", str(tmp_path / image), "nf-backup-1")
    await vm.libvirt.redefine_checkpoint(NAME, CHECKPOINT)
    await vm.write(2, 2)
    await vm.revert("a")
    assert await current(vm) == held
    assert await vm.libvirt.checkpoints(NAME) == ()
    for image in ("vda.qcow2", "vdb.img"):
        told = json.loads(qemu_img("info", "--output=json", str(tmp_path / image)))
        assert "bitmaps" not in told["format-specific"]["data"]


@needs_qemu
async def test_with_overlays_over_it_a_snapshot_is_copied_out(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.write(1, 1)
    await vm.create("inside")
    held = await current(vm)
    await vm.write(2, 2)
    await vm.create("over", kind="external")
    over = (await vm.contents())["over"]
    await vm.write(3, 3)
    await vm.create("later")
    assert (await choice(vm, "later"))[0] == "external"
    await vm.revert("inside")
    assert await current(vm) == held
    assert (await vm.contents())["over"] == over
    await vm.write(4, 4)
    now = await current(vm)
    await vm.revert("over")
    await vm.revert("inside")
    await vm.write(4, 4)
    assert await current(vm) == now
    await vm.remove("over", "later")
    assert await current(vm) == now
    await vm.remove("inside")
    assert await current(vm) == now
    assert vm.files() == ["vda.qcow2", "vdb.img"]
    assert "snapshots" not in json.loads(qemu_img("info", "--output=json", str(tmp_path / "vda.qcow2")))


@needs_qemu
async def test_a_name_with_a_comma_is_copied_out_too(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.write(1, 1)
    await vm.create("x,snapshot.id=1,y")
    held = await current(vm)
    await vm.write(2, 2)
    await vm.create("over", kind="external")
    await vm.revert("x,snapshot.id=1,y")
    assert await current(vm) == held


@needs_qemu
async def test_a_removal_cut_off_between_disks_is_ended_beside_a_name_that_begins_alike(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.create("day")
    await vm.create("day-2")
    qemu_img("snapshot", "-d", "day", str(tmp_path / "vda.qcow2"))
    await vm.remove("day")
    assert [each.name for each in (await vm.seen()).snapshots] == ["day-2"]
    assert "day-2" in qemu_img("snapshot", "-l", str(tmp_path / "vda.qcow2"))


@needs_qemu
async def test_one_under_overlays_of_a_vm_that_runs_is_not_removed(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.create("inside")
    await vm.libvirt.start_domain(NAME)
    await vm.create("over")
    with pytest.raises(SnapshotError) as refused:
        await vm.remove("inside")
    assert refused.value.code == "NF-SNAP-014"
    await vm.libvirt.destroy_domain(NAME)
    await vm.remove("inside")
    assert [each.name for each in (await vm.seen()).snapshots] == ["over"]


@needs_qemu
async def test_what_libvirt_refuses_is_had_with_overlays_and_said(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    vm.libvirt.refuses_inside = True
    await vm.write(1, 1)
    await vm.create("a")
    kind, why = await choice(vm, "a")
    assert (kind, "not while checkpoint exists" in why) == ("external", True)
    await vm.remove("a")
    with pytest.raises(SnapshotError) as refused:
        await vm.create("b", kind="internal")
    assert refused.value.code == "NF-SNAP-014"
    assert vm.files() == ["vda.qcow2", "vdb.img"]


@needs_qemu
async def test_a_libvirt_that_minds_checkpoints_keeps_them_nevertheless(tmp_path: Path) -> None:
    vm = await machine(tmp_path)
    await vm.libvirt.redefine_checkpoint(NAME, CHECKPOINT)
    vm.libvirt.refuses_inside = vm.libvirt.minds_checkpoints = True
    await vm.write(1, 1)
    held = await current(vm)
    for name in ("a", "b"):
        await vm.create(name)
    await vm.write(2, 2)
    await vm.revert("a")
    assert await current(vm) == held
    await vm.remove("a", "b")
    assert [each.name for each in await vm.libvirt.checkpoints(NAME)] == ["nf-backup-1"]


@needs_qemu
async def test_it_goes_along_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    vm = await machine(tmp_path / "one")
    await vm.write(1, 1)
    await vm.create("inside")
    held = await current(vm)
    await vm.write(2, 2)
    now = await current(vm)
    await exported(vm, tmp_path / "vm.nfvm")
    assert vm.files() == ["vda.qcow2", "vdb.img"]
    other = empty(tmp_path / "two")
    await imported(other, tmp_path / "vm.nfvm")
    assert await current(other) == now
    assert (await choice(other, "inside"))[0] == "internal"
    await other.revert("inside")
    assert await current(other) == held
