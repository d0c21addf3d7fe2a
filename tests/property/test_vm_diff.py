"""``plan(desired, apply(plan, facts)) == []`` for VMs and volumes, also when ``apply`` was killed on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.capability.vm import shape
from novafleet.capability.vm.drift import drift
from novafleet.model.environment import Artifact, CloudInit, Disk, Environment, Image, Nic, Vm
from tests.unit.vm.cases import IMAGES, MIB, disk, environment, nic, vm
from tests.unit.vm.world import KilledError, World, changed

SECOND = "e" * 64
SIZES = {"d" * 64: 4 * MIB, SECOND: 8 * MIB}
KNOWN = {**IMAGES, "other": Image("other", disk=Artifact(sha256=SECOND), format="qcow2")}
OVERLAYS = ("", *(f"<domain><cputune><shares>{shares}</shares></cputune></domain>" for shares in (98, 99)))
CONSENT = {"allow_data_loss": True, "destroy_protected": True}


@st.composite
def disks(draw: st.DrawFn, owner: str) -> tuple[Disk, ...]:
    """Disks by name, from an image or blank."""
    names = draw(st.lists(st.sampled_from(("root", "data", "log")), unique=True, max_size=3))
    return tuple(
        disk(
            name,
            owner,
            image=draw(st.sampled_from(("", "debian", "other"))),
            size=draw(st.integers(8, 12)) * MIB,
            bus=draw(st.sampled_from(("virtio", "sata", "scsi"))),
            copy=draw(st.sampled_from(("overlay", "full"))),
            protect=draw(st.booleans()),
        )
        for name in names
    )


@st.composite
def nics(draw: st.DrawFn) -> tuple[Nic, ...]:
    """NICs by name, on a network or a bridge."""
    names = draw(st.lists(st.sampled_from(("lan", "wan")), unique=True))
    return tuple(
        nic(
            name,
            draw(st.sampled_from(("lab", "office"))),
            model=draw(st.sampled_from(("virtio", "e1000"))),
        )
        for name in names
    )


@st.composite
def vms(draw: st.DrawFn, name: str) -> Vm:
    """Any VM the file can describe."""
    return vm(
        name,
        host=draw(st.sampled_from(("kvm1", "kvm2"))),
        disks=draw(disks(name)),
        nics=draw(nics()),
        memory=draw(st.integers(64 * MIB, 70 * MIB)),
        vcpus=draw(st.integers(1, 3)),
        firmware=draw(st.sampled_from(("bios", "uefi", "uefi-secure"))),
        tpm=draw(st.booleans()),
        machine=draw(st.sampled_from(("", "pc", "q35"))),
        cpu=draw(st.sampled_from(("", "host-passthrough", "Nehalem"))),
        boot=draw(st.sampled_from(("", "mini"))),
        autostart=draw(st.booleans()),
        agent=draw(st.booleans()),
        xml=draw(st.sampled_from(OVERLAYS)),
        cloud_init=draw(st.sampled_from((None, CloudInit({"a": "b"}), CloudInit({"a": "c"}, rerun="on-change")))),
    )


@st.composite
def environments(draw: st.DrawFn) -> Environment:
    """Up to three VMs on two hosts."""
    names = draw(st.lists(st.sampled_from(("db", "web-1", "web-2")), unique=True))
    return environment(*(draw(vms(name)) for name in names), images=KNOWN)


FIELDS = ("disks", "nics", "memory", "firmware", "xml", "cloud_init", "autostart", "host")


@st.composite
def edited(draw: st.DrawFn, before: Environment) -> Environment:
    """The environment after a person changed one or two fields of each of some VMs."""
    after = dict(before.vms)
    for name in after:
        other = draw(vms(name))
        for field in draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=2)):
            after[name] = replace(after[name], **{field: getattr(other, field)})
    return replace(before, vms=after)


@st.composite
def histories(draw: st.DrawFn) -> list[Environment]:
    """An environment as it was edited over time, now and then wholly rewritten."""
    stages = [draw(environments())]
    for _ in range(draw(st.integers(0, 3))):
        stages.append(draw(edited(stages[-1]) if draw(st.integers(0, 4)) else environments()))
    return stages


async def _world(chance: int) -> World:
    world = World("kvm1", "kvm2", images=SIZES.items(), chance=chance)
    await world.networks("vmtest-lab")
    return world


def _of_now(xml: str) -> shape.Shape:
    """What matters to a VM that has booted."""
    return {field: value for field, value in shape.of_xml(xml).items() if field != "boot_disk"}


async def _settled(world: World, desired: Environment) -> None:
    """The hosts are as the file says, and nothing but what it says is there."""
    assert changed(await world.plan(desired, **CONSENT)) == {}
    assert drift(desired, await world.facts()) == {}
    for name, libvirt in world.libvirt.items():
        here = {each.domain for each in desired.vms.values() if each.host == name}
        assert {domain.name for domain in await libvirt.domains()} == here
        for domain in await libvirt.domains():
            assert domain.state == "running"
            assert _of_now(libvirt.live_xml(domain.name)) == _of_now(domain.xml)
        held = [each for each in desired.vms.values() if each.host == name]
        paths = {disk.path for each in held for disk in each.disks.values()}
        volumes = {path.rpartition("/")[2] for path in world.sessions[name].files if path.endswith(".qcow2")}
        assert volumes == paths


async def _removed(world: World, desired: Environment) -> None:
    await world.run(desired, "down", volumes=True, destroy_protected=True)
    for name, libvirt in world.libvirt.items():
        assert await libvirt.domains() == ()
        assert all("novafleet-image-" in path for path in world.sessions[name].files)


@settings(max_examples=15, deadline=None)
@given(histories(), st.integers(0, 99))
def test_an_applied_plan_leaves_nothing_to_plan(stages: list[Environment], chance: int) -> None:
    async def check() -> None:
        world = await _world(chance)
        for desired in stages:
            await world.run(desired, **CONSENT)
            await _settled(world, desired)
        await _removed(world, stages[-1])

    asyncio.run(check())


@settings(max_examples=20, deadline=None)
@given(histories(), st.lists(st.integers(0, 25), max_size=4), st.integers(0, 99))
def test_killed_anywhere_another_up_ends_the_same(stages: list[Environment], kills: list[int], chance: int) -> None:
    async def check() -> None:
        world = await _world(chance)
        last = stages[-1]
        await world.run(stages[0], **CONSENT)
        for moment in kills:
            world.budget.left = moment
            try:
                await world.run(last, **CONSENT)
            except KilledError:
                continue
        world.budget.left = None
        await world.run(last, **CONSENT)
        await _settled(world, last)

    asyncio.run(check())


@settings(max_examples=10, deadline=None)
@given(environments(), st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(0, 99))
def test_killed_anywhere_another_down_leaves_nothing(desired: Environment, kills: list[int], chance: int) -> None:
    async def check() -> None:
        world = await _world(chance)
        await world.run(desired)
        for moment in kills:
            world.budget.left = moment
            try:
                await world.run(desired, "down", volumes=True)
            except KilledError:
                continue
        world.budget.left = None
        await _removed(world, desired)

    asyncio.run(check())


@settings(max_examples=10, deadline=None)
@given(environments(), st.integers(0, 99))
def test_data_stays_without_consent(desired: Environment, chance: int) -> None:
    async def check() -> None:
        world = await _world(chance)
        await world.run(desired)
        before = {name: set(session.files) for name, session in world.sessions.items()}
        await world.run(replace(desired, vms={}))
        await world.run(desired, "down", volumes=True)
        for name, session in world.sessions.items():
            kept = {path for path in before[name] if path + ".protected" in before[name]}
            assert kept <= set(session.files)

    asyncio.run(check())
