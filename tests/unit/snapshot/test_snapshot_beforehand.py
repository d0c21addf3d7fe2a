"""``up --snapshot-before``: what is planned, and that the snapshot comes before anything of the VM changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from novafleet.app.registry import ACTIONS
from novafleet.capability.snapshot import beforehand
from novafleet.capability.snapshot.beforehand import with_snapshots
from novafleet.errors import SnapshotError
from novafleet.model.environment import Environment
from novafleet.model.plan import Change, Impact, ResourceChange
from novafleet.plan.graph import check_acyclic
from tests.unit.snapshot.machine import NAME, Context, Machine, needs_qemu
from tests.unit.vm.cases import GIB, MIB, disk, environment, vm
from tests.unit.vm.world import World

BEFORE = environment(vm(disks=(disk("root"),)))


async def planned(*wanted: Any) -> tuple[Environment, tuple[ResourceChange, ...]]:
    world = World("kvm1", "kvm2")
    await world.networks("vmtest-lab")
    await world.run(BEFORE)
    desired = environment(*wanted)
    return desired, tuple(await world.plan(desired))


def of_vm(changes: tuple[ResourceChange, ...]) -> ResourceChange:
    [found] = [each for each in changes if each.kind == "vm"]
    return found


async def test_a_vm_that_is_restarted_gets_a_snapshot_first() -> None:
    desired, changes = await planned(vm(disks=(disk("root"),), memory=512 * MIB))
    assert of_vm(changes).impact is Impact.REBOOT
    change = of_vm(with_snapshots(desired, changes))
    first, *rest = change.steps
    assert (first.id, first.action, first.args) == ("vm.db/snapshot", "snapshot.before", {"domain": "vmtest-db"})
    assert first.action in ACTIONS
    assert all(first.id in each.after for each in rest if not each.check)
    assert "a snapshot is taken first" in change.reasons[-1].text
    check_acyclic(change.steps)
    assert with_snapshots(desired, changes) == with_snapshots(desired, changes), "a saved plan does not go stale by it"


async def test_nobody_else_does() -> None:
    for wanted in (
        vm(disks=(disk("root"),)),
        vm(disks=(disk("root"), disk("data"))),
        vm(disks=(disk("root"),), autostart=True),
    ):
        desired, changes = await planned(wanted)
        assert of_vm(changes).impact is Impact.LIVE
        assert with_snapshots(desired, changes) == changes
    new = ResourceChange("vm.db", "vm", "db", "kvm1", Change.CREATE, Impact.REBOOT)
    assert with_snapshots(BEFORE, [new]) == (new,)
    bare = environment(vm(disks=()))
    without = replace(new, change=Change.UPDATE)
    assert with_snapshots(bare, [without]) == (without,)


@pytest.mark.parametrize(
    ("wanted", "because"),
    [
        (vm(disks=(disk("root"),), firmware="uefi"), "defined anew"),
        (vm(disks=(disk("root", size=9 * GIB),), memory=512 * MIB), "volume.db.root grows"),
    ],
)
async def test_what_would_lose_the_snapshot_is_refused(wanted: Any, because: str) -> None:
    desired, changes = await planned(wanted)
    with pytest.raises(SnapshotError) as refused:
        with_snapshots(desired, changes)
    assert refused.value.code == "NF-SNAP-016"
    assert because in refused.value.cause


@needs_qemu
async def test_it_is_taken_once_for_a_run_and_known_again_when_that_is_resumed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.make(running=True)
    await machine.write(1, 1)
    before = (await machine.contents())[""]
    context: Any = Context(machine.session, machine.libvirt, run_id="20261121T160000-abcd")
    context.environment = BEFORE
    args = {"domain": NAME}
    assert await beforehand.taken(context, args) is None
    made = await beforehand.before(context, args)
    assert made["snapshot"] == "before-up-20261121T160000-abcd"
    assert await beforehand.taken(context, args) is not None
    await machine.write(1, 9)
    assert (await machine.contents())[made["snapshot"]] == before
    [taken] = (await machine.seen()).snapshots
    assert taken.note is not None
    assert (taken.note.tags, taken.note.hold, taken.note.expires > 0) == (("update",), False, True)
