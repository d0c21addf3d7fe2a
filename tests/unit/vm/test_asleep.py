"""A VM whose memory waits in a managed save goes on as it was: it is not changed meanwhile, only woken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.errors import GuardError
from tests.unit.vm.cases import MIB, disk, environment, vm
from tests.unit.vm.world import World, changed

BASE = vm(disks=(disk("root"),))


async def test_it_is_woken_as_it_is_and_refused_when_the_file_changed_it() -> None:
    world = World("kvm1")
    await world.networks("vmtest-lab")
    await world.run(environment(BASE))
    guest = world.libvirt["kvm1"]._guest("vmtest-db")
    await world.libvirt["kvm1"].destroy_domain("vmtest-db")
    guest.saved = True
    [change] = [each for each in await world.plan(environment(BASE)) if each.address == "vm.db"]
    assert [step.label for step in change.steps] == ["boot"]
    for edited in (replace(BASE, memory=512 * MIB), replace(BASE, firmware="uefi")):
        with pytest.raises(GuardError) as caught:
            await world.plan(environment(edited))
        assert caught.value.code == "NF-GUARD-009"
    guest.saved = False
    assert changed(await world.plan(environment(replace(BASE, memory=512 * MIB))))
