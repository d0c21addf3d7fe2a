"""Planning volumes: what is made, grown, made anew, kept, deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.volume.plan import plan_up
from novafleet.errors import ConfigError, ConfigErrors, GuardError, SpaceError
from novafleet.model.environment import Artifact, Disk, Environment, Image
from novafleet.model.facts import FleetFacts, PoolFact
from novafleet.model.plan import PlanOptions
from tests.unit.vm.cases import DIGEST, GIB, IMAGES, MIB, POOL, disk, environment, host, vm
from tests.unit.vm.world import World, changed, reasons

OTHER = "e" * 64
KNOWN = {**IMAGES, "other": Image("other", disk=Artifact(sha256=OTHER), format="qcow2")}


def _environment(*disks: Disk) -> Environment:
    return environment(vm(disks=disks), images=KNOWN)


async def _world(*disks: Disk) -> World:
    world = World("kvm1", images=((DIGEST, 8 * MIB), (OTHER, 8 * MIB)))
    if disks:
        await world.run(_environment(*disks))
    return world


BEFORE = disk("root", image="debian", size=16 * MIB)
EDITS = {
    "nothing": (BEFORE, {}, []),
    "image": (
        replace(BEFORE, image="other"),
        {"volume.db.root": "-/+ data-loss", "vm.db": "~ reboot"},
        ["image other: sha256:dddddddddddd -> sha256:eeeeeeeeeeee (env.yml:20)"],
    ),
    "grow": (replace(BEFORE, size=32 * MIB), {"volume.db.root": "~ live"}, ["size: 16MiB -> 32MiB (env.yml:20)"]),
    "shrink": (
        replace(BEFORE, size=8 * MIB),
        {"volume.db.root": "-/+ data-loss", "vm.db": "~ reboot"},
        ["size: 16MiB -> 8MiB, a disk cannot shrink (env.yml:20)"],
    ),
    "the image's own size": (replace(BEFORE, size=0), {}, []),
    "protect": (replace(BEFORE, protect=True), {"volume.db.root": "~ live"}, ["protect: false -> true (env.yml:20)"]),
}


@pytest.mark.parametrize("copy", ["overlay", "full"])
@pytest.mark.parametrize(("edited", "changes", "told"), EDITS.values(), ids=EDITS.keys())
async def test_an_edit(copy: str, edited: Disk, changes: dict[str, str], told: list[str]) -> None:
    world = await _world(replace(BEFORE, copy=copy))
    desired = _environment(replace(edited, copy=copy))
    plan = await world.plan(desired)
    assert changed(plan) == changes
    assert reasons(plan, "volume.db.root") == told
    await world.run(desired, allow_data_loss=True)
    assert changed(await world.plan(desired)) == {}


async def test_a_volume_is_made_anew_while_its_guest_is_off() -> None:
    world = await _world(BEFORE)
    plan = await world.plan(_environment(replace(BEFORE, image="other")))
    [volume] = [change for change in plan if change.kind == "volume"]
    assert volume.bytes_lost == 8 * MIB
    done = await world.run(_environment(replace(BEFORE, image="other")), allow_data_loss=True)
    places = [done.index(f"{each}") for each in ("vm.db/stop", "volume.db.root/delete", "volume.db.root/create")]
    assert places == sorted(places)
    assert done[-1] == "vm.db/start"


async def test_protected_data_needs_its_own_consent() -> None:
    world = await _world(replace(BEFORE, protect=True))
    edited = _environment(replace(BEFORE, protect=False, size=8 * MIB))
    assert changed(await world.plan(edited))["volume.db.root"] == "-/+ data-loss"
    with pytest.raises(GuardError) as caught:
        await world.plan(edited, allow_data_loss=True)
    assert caught.value.code == "NF-GUARD-004"
    await world.run(edited, allow_data_loss=True, destroy_protected=True)
    assert changed(await world.plan(edited)) == {}


async def test_down_keeps_what_nobody_agreed_to_lose() -> None:
    held = (disk("root"), disk("data", protect=True))
    world, desired = await _world(*held), _environment(*held)
    await world.run(desired, "down")
    assert {f"{POOL}/{each.path}" for each in held} <= set(world.sessions["kvm1"].files)
    assert changed(await world.plan(desired, "down")) == {}
    await world.run(desired, "down", volumes=True)
    await world.run(_environment(), "down", volumes=True)
    assert f"{POOL}/{held[1].path}" in world.sessions["kvm1"].files
    assert f"{POOL}/{held[0].path}" not in world.sessions["kvm1"].files
    assert changed(await world.plan(desired, "down", volumes=True)) == {}
    await world.run(desired, "down", volumes=True, destroy_protected=True)
    assert all("novafleet-image-" in path for path in world.sessions["kvm1"].files)


async def test_an_unfinished_copy_goes_without_asking() -> None:
    world = await _world()
    world.sessions["kvm1"].put(f"{POOL}/vmtest.db.root.qcow2.part.77")
    assert changed(await world.plan(_environment(), "down")) == {"volume.db.root": "- live"}
    assert changed(await world.plan(environment(), "up")) == {"volume.db.root": "- live"}
    await world.run(_environment(), "down")
    assert not any(".part." in path for path in world.sessions["kvm1"].files)


async def test_files_of_others_are_never_ours() -> None:
    world = await _world()
    for name in ("vmtest2.db.root.qcow2", "vmtest.qcow2", "xvmtest.db.root.qcow2", "vmtest.db.root.iso", "db.qcow2"):
        world.sessions["kvm1"].put(f"{POOL}/{name}")
    assert await world.plan(environment(), "down", volumes=True, destroy_protected=True) == []


BAD = {
    "smaller than its image": (disk("root", image="debian", size=4 * MIB), "NF-VOL-001"),
    "no such pool": (disk("root", pool="fast"), "NF-VOL-003"),
    "nothing to make it from": (disk("root", size=0), "NF-VOL-006"),
}


@pytest.mark.parametrize(("bad", "code"), BAD.values(), ids=BAD.keys())
async def test_what_cannot_work_is_said_before_it_is_begun(bad: Disk, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await (await _world()).plan(_environment(bad))
    assert caught.value.code == code


async def test_all_errors_are_told_together() -> None:
    with pytest.raises(ConfigErrors) as caught:
        await (await _world()).plan(_environment(disk("a", size=0), disk("b", size=0)))
    assert len(caught.value.errors) == 2


def test_a_full_pool_is_seen_before_copying() -> None:
    pools = {"default": PoolFact("default", True, POOL, GIB, 100 * MIB)}
    path = f"{POOL}/novafleet-image-{DIGEST}"
    session = World("kvm1", images=((DIGEST, GIB),)).sessions["kvm1"]
    facts = FleetFacts({"kvm1": host(pools=pools, files={path: session.files[path]})})
    copied = disk("root", image="debian", copy="full", size=2 * GIB)
    with pytest.raises(SpaceError, match="not enough room") as caught:
        plan_up(_environment(copied), facts, PlanOptions())
    assert (caught.value.code, caught.value.cause) == ("NF-VOL-004", "1025 MiB are needed at once, 100 MiB are free")
    assert plan_up(_environment(replace(copied, copy="overlay")), facts, PlanOptions())
