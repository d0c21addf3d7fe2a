"""Snapshots over real images: what each holds stays what it was, whatever is removed, gone back to, or cut off."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from novafleet.capability.snapshot.tidy import pending
from novafleet.errors import SnapshotError
from tests.unit.snapshot.machine import BLOCKS, NAME, CutOffError, Fuse, Machine, needs_qemu

pytestmark = [needs_qemu, pytest.mark.timeout(120)]
STEMS = ["vda.qcow2", "vdb.img"]
POINTS = (2, 5, 9, 14, 20, 27, 60)
"""Calls to be cut off at; the last is never reached."""


async def _three(folder: Path, *, running: bool = False, lean: bool = False) -> tuple[Machine, dict[str, list[int]]]:
    """Snapshots a, b, c; block 1 was written after a, 2 after b, 3 after c; block 0 each time."""
    machine = Machine(folder, lean=lean)
    await machine.make(running=running)
    wanted: dict[str, list[int]] = {}
    now = [0] * BLOCKS
    for number, name in enumerate(("a", "b", "c"), 1):
        await machine.create(name)
        wanted[name] = list(now)
        for block in (0, number):
            await machine.write(block, 16 + number)
            now[block] = 16 + number
    return machine, {**wanted, "": now}


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("gone", [("c", "a", "b"), ("b", "a")])
async def test_removing_any_leaves_the_others(tmp_path: Path, gone: tuple[str, ...], running: bool) -> None:
    machine, wanted = await _three(tmp_path, running=running)
    for name in gone:
        await machine.remove(name)
        del wanted[name]
        assert await machine.contents() == wanted
    seen = await machine.seen()
    assert not pending(seen)
    assert len(seen.images) == 2 * len(wanted)
    if len(gone) == 3:
        assert machine.files() == STEMS
        assert {path for path, _ in (await machine.active()).values()} == {str(tmp_path / stem) for stem in STEMS}


async def test_going_back_makes_a_branch_and_loses_only_what_no_snapshot_holds(tmp_path: Path) -> None:
    machine, wanted = await _three(tmp_path)
    await machine.revert("a")
    assert await machine.contents() == {**wanted, "": wanted["a"]}
    await machine.write(9, 99)
    await machine.create("d")
    now = [*wanted["a"][:9], 99, *wanted["a"][10:]]
    assert {each.name: each.fact.parent for each in (await machine.seen()).snapshots}["d"] == "a"
    await machine.remove("b")
    del wanted["b"]
    assert await machine.contents() == {**wanted, "d": now, "": now}
    await machine.remove("a")
    del wanted["a"]
    assert await machine.contents() == {**wanted, "d": now, "": now}, "the shared base stays for both branches"
    await machine.remove("c")
    del wanted["c"]
    assert await machine.contents() == {"d": now, "": now}
    await machine.remove("d")
    assert await machine.contents() == {"": now}
    assert machine.files() == STEMS


async def test_a_name_that_is_taken_is_refused_and_one_that_is_not_there_named(tmp_path: Path) -> None:
    machine, _ = await _three(tmp_path)
    with pytest.raises(SnapshotError, match="has a snapshot b") as caught:
        await machine.create("b")
    assert caught.value.code == "NF-SNAP-003"
    with pytest.raises(SnapshotError, match="no snapshot bb") as caught:
        await machine.revert("bb")
    assert (caught.value.code, caught.value.hints) == ("NF-SNAP-002", ("did you mean b?",))


@pytest.mark.slow
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("before", [True, False])
async def test_a_removal_cut_off_anywhere_is_ended_by_the_next(tmp_path: Path, before: bool, running: bool) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    machine, held = await _three(folder, running=running, lean=True)
    machine.keep()
    for left in POINTS:
        machine.again()
        wanted = dict(held)
        fuse = Fuse(left, before)
        with contextlib.suppress(CutOffError):
            await machine.remove("b", fuse=fuse)
        found = {name: content for name, content in (await machine.contents()).items() if name != "b"}
        del wanted["b"]
        assert found == wanted, f"cut off at call {left}"
        await machine.remove("b")
        assert await machine.contents() == wanted
        assert not pending(await machine.seen())
        assert len((await machine.seen()).images) == 3
        if fuse.left:
            return
    pytest.fail("the removal never ran to its end")


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
async def test_a_snapshot_cut_off_anywhere_leaves_nothing_half(tmp_path: Path, before: bool) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    machine, held = await _three(folder, lean=True)
    machine.keep()
    for left in POINTS:
        machine.again()
        wanted = dict(held)
        fuse = Fuse(left, before)
        with contextlib.suppress(CutOffError):
            await machine.create("d", fuse)
        found = await machine.contents()
        assert {name: found[name] for name in wanted} == wanted
        assert found.get("d", wanted[""]) == wanted[""]
        await machine.act("tidy")
        assert await machine.contents() == found
        assert len((await machine.seen()).images) == len(found)
        if fuse.left:
            return
    pytest.fail("it never ran to its end")


@pytest.mark.parametrize(("calls", "before"), [(6, True), (5, False)])
async def test_a_snapshot_tried_again_after_its_definition_moved_is_not_the_disk_in_use(
    tmp_path: Path, calls: int, before: bool
) -> None:
    machine = Machine(tmp_path)
    await machine.make()
    await machine.write(1, 1)
    words: dict[str, Any] = {"name": "a", "mode": "crash", "token": "0000000a"}
    with pytest.raises(CutOffError):
        await machine.act("create", Fuse(calls, before), **words)
    assert {path[-8:] for path, _ in (await machine.active()).values()} == {"0000000a"}
    await machine.act("create", **words)
    then = (await machine.contents())[""]
    await machine.write(2, 2)
    assert (await machine.contents())["a"] == then
    await machine.revert("a")
    assert (await machine.contents())[""] == then


async def test_a_vm_whose_pool_is_not_mounted_is_listed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.make()
    domain = await machine.libvirt.domain(NAME)
    await machine.libvirt.define_domain(domain.xml.replace(str(tmp_path), f"{tmp_path}/absent"))
    seen = await machine.seen()
    assert (seen.images, seen.free) == ({}, {})


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
async def test_going_back_cut_off_anywhere_loses_no_snapshot(tmp_path: Path, before: bool) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    machine, held = await _three(folder, lean=True)
    await machine.create("safety")
    held["safety"] = held[""]
    machine.keep()
    for left in POINTS:
        machine.again()
        wanted = dict(held)
        fuse = Fuse(left, before)
        with contextlib.suppress(CutOffError):
            await machine.revert("a", fuse)
        found = await machine.contents()
        assert found.pop("") in (wanted[""], wanted["a"])
        assert found == {name: content for name, content in wanted.items() if name}
        await machine.revert("a")
        assert await machine.contents() == {**wanted, "": wanted["a"]}
        assert len((await machine.seen()).images) == 5
        if fuse.left:
            return
    pytest.fail("it never ran to its end")


async def test_a_vm_that_sleeps_keeps_the_images_it_goes_on_with(tmp_path: Path) -> None:
    machine, wanted = await _three(tmp_path)
    machine.libvirt._guest(NAME).saved = True
    files = machine.files()
    for refused in (machine.create("d"), machine.remove("a"), machine.revert("a")):
        with pytest.raises(SnapshotError) as caught:
            await refused
        assert caught.value.code == "NF-SNAP-017"
    assert (await machine.contents(), machine.files()) == (wanted, files)
    machine.libvirt._guest(NAME).saved = False
    await machine.remove("a", "b", "c")
    assert machine.files() == STEMS
