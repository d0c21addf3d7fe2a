"""A VM with snapshots is on overlays: plans do not see a difference, changes keep them, and nothing forgets them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from novafleet.capability.volume.actions import DELETE
from novafleet.errors import GuardError
from novafleet.model.snapshot import SnapshotFlag
from tests.unit.vm.cases import GIB, MIB, disk, environment, vm
from tests.unit.vm.world import World, changed

OVERLAY = ".nf-0badcafe"
RAW = disk("root", format="raw")


async def _with_snapshot(*disks: object) -> tuple[World, str]:
    """A running VM with a snapshot, and the overlay of its first disk."""
    world = World("kvm1", "kvm2")
    await world.networks("vmtest-lab")
    await world.run(environment(vm(disks=disks)))
    libvirt = world.libvirt["kvm1"]
    path = re.findall(r'<source file="([^"]+root[^"]+)"', (await libvirt.domain("vmtest-db")).xml)[0]
    await libvirt.create_snapshot(
        "vmtest-db",
        f'<domainsnapshot><disks><disk name="vda" snapshot="external"><source file="{path}{OVERLAY}"/></disk></disks>'
        "</domainsnapshot>",
        SnapshotFlag.DISK_ONLY,
    )
    world.sessions["kvm1"].put(f"{path}{OVERLAY}", format="qcow2")
    return world, f"{path}{OVERLAY}"


@pytest.mark.parametrize("root", [disk("root"), RAW], ids=["qcow2", "raw"])
async def test_a_plan_sees_no_difference_and_a_change_keeps_the_overlay(root: object) -> None:
    world, overlay = await _with_snapshot(root)
    assert changed(await world.plan(environment(vm(disks=(root,))))) == {}
    for edited in (vm(disks=(root,), memory=512 * MIB), vm(disks=(root, disk("data")), memory=512 * MIB)):
        await world.run(environment(edited))
        defined = (await world.libvirt["kvm1"].domain("vmtest-db")).xml
        assert f'file="{overlay}"' in defined
        assert defined.count('type="qcow2"') == 1 + ("data" in edited.disks)
        assert changed(await world.plan(environment(edited))) == {}


async def test_what_would_forget_the_overlay_is_refused() -> None:
    world, _ = await _with_snapshot(disk("root"))
    desired = environment(vm(disks=(disk("root"),)))
    for attempt in (
        world.plan(environment(vm(disks=(disk("root"),), firmware="uefi"))),
        world.plan(environment()),
        world.plan(desired, "down"),
        world.run(environment(vm(disks=(disk("root", size=9 * GIB),)))),
    ):
        with pytest.raises(GuardError) as caught:
            await attempt
        assert caught.value.code == "NF-GUARD-006"
    await world.run(desired, "down", volumes=True)
    assert await world.libvirt["kvm1"].domains() == ()


def test_overlays_go_with_their_volume(tmp_path: Path) -> None:
    for name in ("a.qcow2", "a.qcow2.nf-0badcafe", "a.qcow2.nf-0badcafe.mem", "ab.qcow2"):
        (tmp_path / name).touch()
    subprocess.run(("sh", "-c", DELETE, "x", tmp_path / "a.qcow2"), check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ab.qcow2"]
