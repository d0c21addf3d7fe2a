"""VMs that a migration took elsewhere, or left between two hosts, in the plan of their environment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.vm.drift import drift
from novafleet.errors import GuardError
from novafleet.model.migration import Phase
from novafleet.model.plan import Change
from novafleet.plan import moving
from tests.unit.vm.cases import MIB, disk, environment, vm
from tests.unit.vm.world import World, changed, reasons

BETWEEN = "its migration 0a1b2c3d from kvm1 to kvm2 has not ended (switching)"


async def _world() -> World:
    world = World("kvm1", "kvm2")
    await world.networks("vmtest-lab")
    return world


async def test_a_vm_at_home_elsewhere_is_as_desired_and_says_how_to_settle_it() -> None:
    world = await _world()
    await world.run(environment(vm(host="kvm2")))
    moved = environment(replace(vm(host="kvm2"), moved_from="kvm1"))
    plan = await world.plan(moved)
    assert changed(plan) == {}
    [said] = reasons(plan, "vm.db")
    assert "write `host: kvm2`" in said
    assert "novafleet migrate vmtest/db --to kvm1" in said
    assert await world.run(moved) == []


async def test_nothing_of_a_vm_between_two_hosts_is_changed() -> None:
    world = await _world()
    await world.run(environment(vm(host="kvm1", disks=(disk("root"),))))
    between = environment(replace(vm(host="kvm1", memory=1 << 30), between=BETWEEN))
    plan = await world.plan(between)
    assert changed(plan) == {}
    assert [each.change for each in plan if each.kind == "vm"] == [Change.NONE]
    assert all(not each.steps for each in plan)
    assert "novafleet migrate recover" in reasons(plan, "vm.db")[0]
    assert drift(between, await world.facts()) == {}


async def test_neither_copy_nor_volume_of_it_is_taken_for_a_stray() -> None:
    world = await _world()
    await world.run(environment(vm(host="kvm1")))
    plan = await world.plan(environment(replace(vm(host="kvm2"), between=BETWEEN)))
    assert changed(plan) == {}


async def test_down_refuses_while_a_vm_is_between_two_hosts() -> None:
    world = await _world()
    await world.run(environment(vm()))
    with pytest.raises(GuardError) as caught:
        await world.plan(environment(replace(vm(), between=BETWEEN)), "down")
    assert caught.value.code == "NF-GUARD-007"
    assert "recover" in caught.value.hints[0]


async def test_a_change_and_a_new_definition_keep_what_says_that_it_is_at_home_here() -> None:
    world = await _world()
    await world.run(environment(vm(host="kvm2")))
    for changed_vm in (vm(host="kvm2", memory=512 * MIB), vm(host="kvm2", firmware="uefi")):
        await world.run(environment(replace(changed_vm, moved_from="kvm1")))
        [domain] = await world.libvirt["kvm2"].domains()
        found = moving.read(domain.xml)
        assert found is not None
        assert (found.phase, found.source, found.destination) == (Phase.COMMITTED, "kvm1", "kvm2")
