"""Planning VMs, and that the actions do what was planned, on hosts in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.vm import shape
from novafleet.capability.vm.drift import drift
from novafleet.errors import ConfigError, GuardError, HypervisorError
from novafleet.model.environment import CloudInit, Condition, Dependency, Gate, GateKind
from novafleet.model.plan import Change
from tests.unit.vm.cases import MIB, POOL, disk, environment, nic, vm
from tests.unit.vm.world import World, changed, reasons

SEEDED = vm(cloud_init=CloudInit({"runcmd": ["true"]}))


async def _world(*machines: object, **fields: object) -> World:
    world = World("kvm1", "kvm2")
    await world.networks("vmtest-lab")
    return world


async def _index(steps: list[str], *names: str) -> None:
    places = [steps.index(name) for name in names]
    assert places == sorted(places)


async def test_a_new_vm() -> None:
    world = await _world()
    done = await world.run(environment(SEEDED))
    assert set(done) == {"vm.db/seed", "vm.db/define", "vm.db/start", "volume.db.root/create"}
    assert done[-1] == "vm.db/start"
    assert changed(await world.plan(environment(SEEDED))) == {}
    [domain] = await world.libvirt["kvm1"].domains()
    assert (domain.name, domain.state, domain.uuid) == ("vmtest-db", "running", SEEDED.uuid)


async def test_gates_are_planned_even_when_nothing_changes() -> None:
    gated = vm(ready=(Gate(GateKind.TCP, {"port": 22}),))
    world = await _world()
    await world.run(environment(gated))
    [volume, machine] = await world.plan(environment(gated))
    assert (volume.change, machine.change) == (Change.NONE, Change.NONE)
    assert [(step.id, step.check, step.after) for step in machine.steps] == [("vm.db/ready.0", True, ("vm.db/start",))]


async def test_start_waits_for_what_it_needs() -> None:
    db = vm(ready=(Gate(GateKind.TCP, {"port": 22}),))
    web = vm("web", boot="mini", nics=(nic(),), depends_on=(Dependency("vm.db", Condition.HEALTHY),))
    changes = await (await _world()).plan(environment(db, web))
    start = next(step for change in changes for step in change.steps if step.id == "vm.web/start")
    assert {"vm.db/ready.0", "network.lab@kvm1/apply", "image.mini@kvm1/fetch", "volume.web.root/create"} <= set(
        start.after
    )


async def test_down_stops_dependants_first() -> None:
    desired = environment(vm(), vm("web", depends_on=(Dependency("vm.db", Condition.STARTED),)))
    world = await _world()
    await world.run(desired)
    done = await world.run(desired, "down", volumes=True)
    await _index(done, "vm.web/stop", "vm.db/stop", "vm.db/undefine", "volume.db.root/delete")
    assert world.sessions["kvm1"].files == {}


async def test_devices_are_plugged_while_the_guest_runs() -> None:
    world = await _world()
    await world.run(environment(vm(disks=(disk("root"), disk("data")), nics=(nic(),))))
    edited = environment(vm(disks=(disk("root"), disk("log")), nics=(nic(network="office"), nic("wan"))))
    assert changed(await world.plan(edited))["vm.db"] == "~ live"
    done = await world.run(edited)
    await _index(done, "volume.db.log/create", "vm.db/change")
    assert "vm.db/stop" not in done
    assert world.said == ["detach disk data", "attach disk log", "attach NIC wan", "update NIC lan"]
    libvirt = world.libvirt["kvm1"]
    live = shape.of_xml(libvirt.live_xml("vmtest-db"))
    assert live == shape.of_xml((await libvirt.domain("vmtest-db")).xml)
    assert {field for field in live if field.endswith(".path")} == {"disks.root.path", "disks.log.path"}


async def test_a_device_keeps_its_slot_when_another_leaves() -> None:
    world = await _world()
    await world.run(environment(vm(disks=(disk("a"), disk("b"), disk("c")))))
    await world.run(environment(vm(disks=(disk("a"), disk("c")))))
    domain = await world.libvirt["kvm1"].domain("vmtest-db")
    assert '<target dev="vdc"' in domain.xml
    assert '<target dev="vdb"' not in domain.xml


async def test_memory_needs_a_restart() -> None:
    world = await _world()
    await world.run(environment(vm()))
    edited = environment(vm(memory=512 * MIB))
    assert changed(await world.plan(edited)) == {"vm.db": "~ reboot"}
    await _index(await world.run(edited), "vm.db/stop", "vm.db/define", "vm.db/start")


async def test_firmware_needs_a_new_definition() -> None:
    world = await _world()
    await world.run(environment(vm()))
    edited = environment(vm(firmware="uefi"))
    assert changed(await world.plan(edited)) == {"vm.db": "-/+ recreate"}
    change = next(each for each in await world.plan(edited) if each.address == "vm.db")
    after = {step.id: set(step.after) for step in change.steps}
    assert "vm.db/undefine" in after["vm.db/define"]
    assert "vm.db/stop" in after["vm.db/undefine"]
    assert after["vm.db/start"] >= {"vm.db/define", "vm.db/stop"}


async def test_a_stopped_vm_is_started_and_pays_no_reboot() -> None:
    world = await _world()
    await world.run(environment(vm()))
    await world.libvirt["kvm1"].destroy_domain("vmtest-db")
    plan = await world.plan(environment(vm()))
    assert changed(plan) == {"vm.db": "~ live"}
    assert reasons(plan, "vm.db") == ["it is shutoff (destroyed) (env.yml:10)"]
    assert await world.run(environment(vm(memory=512 * MIB))) == ["vm.db/define", "vm.db/start"]


async def test_a_paused_vm_goes_on() -> None:
    world = await _world()
    await world.run(environment(vm()))
    await world.libvirt["kvm1"].suspend_domain("vmtest-db")
    assert await world.run(environment(vm())) == ["vm.db/start"]
    assert (await world.libvirt["kvm1"].domain("vmtest-db")).state == "running"


async def test_a_finished_job_is_not_run_again() -> None:
    job = vm("job")
    desired = environment(job, vm("web", depends_on=(Dependency("vm.job", Condition.COMPLETED),)))
    world = await _world()
    await world.run(desired)
    await world.libvirt["kvm1"].shutdown_domain("vmtest-job")
    assert changed(await world.plan(desired)) == {}
    await world.libvirt["kvm1"].start_domain("vmtest-job")
    await world.libvirt["kvm1"].destroy_domain("vmtest-job")
    assert changed(await world.plan(desired)) == {"vm.job": "~ live"}


async def test_what_left_the_file_goes_and_its_disks_stay() -> None:
    world = await _world()
    await world.run(environment(SEEDED))
    plan = await world.plan(environment())
    assert changed(plan) == {"vm.db": "- live"}
    assert reasons(plan, "volume.db.root") == ["kept: its VM or disk is no longer in the file ()"]
    await world.run(environment())
    assert set(world.sessions["kvm1"].files) == {f"{POOL}/vmtest.db.root.qcow2"}


async def test_a_stubborn_guest_loses_its_power() -> None:
    world = await _world()
    world.libvirt["kvm1"].obedient = False
    await world.run(environment(vm(stop_timeout=0.01)))
    await world.run(environment(vm(stop_timeout=0.01)), "down")
    assert world.said == ["the guest did not power itself off: pulling the plug"]
    assert await world.libvirt["kvm1"].domains() == ()


@pytest.mark.parametrize("code", ["NF-LV-110", "NF-LV-111"])
async def test_a_guest_whose_qemu_hangs_loses_its_power(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    async def unanswered(_name: str) -> None:
        raise HypervisorError("nobody answers", code=code)

    world = await _world()
    await world.run(environment(vm()))
    monkeypatch.setattr(world.libvirt["kvm1"], "shutdown_domain", unanswered)
    await world.run(environment(vm()), "down")
    assert world.said == ["the guest did not power itself off: pulling the plug"]
    assert await world.libvirt["kvm1"].domains() == ()


async def test_another_host_in_the_file_means_new_disks() -> None:
    world = await _world()
    await world.run(environment(vm()))
    moved = environment(vm(host="kvm2"))
    plan = await world.plan(moved)
    assert changed(plan) == {"vm.db": "-/+ data-loss", "volume.db.root": "+ live"}
    assert "novafleet migrate kvm1/vmtest-db --to kvm2" in reasons(plan, "vm.db")[1]
    await world.run(moved, allow_data_loss=True)
    assert await world.libvirt["kvm1"].domains() == ()
    assert world.sessions["kvm1"].files == {}
    assert changed(await world.plan(moved)) == {}


async def test_a_stranger_is_not_touched() -> None:
    world = await _world()
    await world.libvirt["kvm1"].define_domain(
        "<domain type='qemu'><name>vmtest-db</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    with pytest.raises(GuardError, match="NovaFleet did not create") as caught:
        await world.plan(environment(vm()))
    assert caught.value.code == "NF-GUARD-002"
    assert changed(await world.plan(environment(), "down")) == {}


async def test_a_clone_made_by_hand_is_a_stranger() -> None:
    world = await _world()
    await world.run(environment(vm()))
    domain = await world.libvirt["kvm1"].domain("vmtest-db")
    clone = domain.xml.replace("<name>vmtest-db", "<name>copy").replace(f"<uuid>{vm().uuid}", "<uuid>" + "1" * 32)
    await world.libvirt["kvm1"].define_domain(clone)
    assert changed(await world.plan(environment())) == {"vm.db": "- live"}


async def test_a_seed_without_a_domain_is_cleaned_up() -> None:
    world = await _world()
    world.sessions["kvm1"].put(f"{POOL}/vmtest.db.seed.iso.part.12")
    assert changed(await world.plan(environment(SEEDED), "down")) == {"vm.db": "- live"}
    assert await world.run(environment(SEEDED), "down") == ["vm.db/undefine"]
    assert world.sessions["kvm1"].files == {}


async def test_drift_three_ways() -> None:
    world = await _world()
    await world.run(environment(vm()))
    libvirt = world.libvirt["kvm1"]
    assert drift(environment(vm()), await world.facts()) == {}
    edited = environment(vm(vcpus=2))
    assert _kinds(drift(edited, await world.facts())) == {"vcpus": "changed-in-file"}
    await libvirt.set_vcpus("vmtest-db", 4, live=False)
    assert _kinds(drift(environment(vm()), await world.facts())) == {"vcpus": "changed-on-host"}
    [found] = drift(edited, await world.facts())["vm.db"]
    assert (found.desired, found.applied, found.live, found.kind) == ("2", "1", "4", "both")
    await libvirt.destroy_domain("vmtest-db")
    assert _kinds(drift(environment(vm(vcpus=4)), await world.facts()))["state"] == "changed-on-host"
    assert _kinds(drift(environment(vm("other")), await world.facts()), "vm.other") == {"": "missing"}
    assert _kinds(drift(environment(), await world.facts())) == {"": "orphan"}


def _kinds(found: object, address: str = "vm.db") -> dict[str, str]:
    return {each.field: each.kind for each in found[address]}  # type: ignore[index]


OVERLAYS = {
    "not XML": "<domain",
    "another element": "<network/>",
    "an entity bomb": '<!DOCTYPE x [<!ENTITY a "aaaa">]><domain>&a;</domain>',
    "a NIC nobody could know again": "<domain><devices><interface type='user'/></devices></domain>",
}


@pytest.mark.parametrize("text", OVERLAYS.values(), ids=OVERLAYS.keys())
async def test_a_bad_overlay(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await (await _world()).plan(environment(vm(xml=text)))
    assert (caught.value.code, str(caught.value.where)) == ("NF-VM-004", "env.yml:10")


async def test_an_image_without_a_kernel_cannot_be_booted() -> None:
    with pytest.raises(ConfigError) as caught:
        await (await _world()).plan(environment(replace(vm(), boot="debian")))
    assert caught.value.code == "NF-VM-005"
