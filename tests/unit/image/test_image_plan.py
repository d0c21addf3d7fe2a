"""Which images which hosts need, and what a ``down --volumes`` may take away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.capability.image.plan import needs, plan_down, plan_up
from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Artifact, Disk, Environment, Image, Stack, Vm
from novafleet.model.facts import Domain, FileFact, FleetFacts, HostFacts, PoolFact
from novafleet.model.plan import Change, PlanOptions, ResourceChange

HERE = Location("env.yml", 4)
POOL = "/var/lib/libvirt/images"
DISK, KERNEL, INITRD, ARCHIVE = ("d" * 64, "e" * 64, "f" * 64, "a" * 64)
URL = "https://images.test/x"
IMAGE = Image(
    "mini",
    disk=Artifact(url=URL, sha256=DISK),
    kernel=Artifact(url=URL, sha256=KERNEL),
    initrd=Artifact(url=URL, sha256=INITRD),
    source=HERE,
)
FROM_DISK = Vm("db", "db", "lab-db", "0", "kvm1", 1, disks={"root": Disk("root", "lab.db.root.qcow2", image="mini")})
BOOTED = Vm("web", "web", "lab-web", "1", "kvm2", 1, boot="mini")
STACK = Stack(
    "edge", "kvm2", "lab-edge", "compose", "c.yaml", (), "x", images={"app:1": Artifact(path="/a", sha256=ARCHIVE)}
)
VOLUMES = PlanOptions(volumes=True)


def environment(*vms: Vm, image: Image = IMAGE, stacks: tuple[Stack, ...] = ()) -> Environment:
    return Environment(
        "lab",
        HERE,
        images={image.name: image},
        vms={vm.name: vm for vm in vms},
        stacks={stack.name: stack for stack in stacks},
    )


def path(sha256: str) -> str:
    return f"{POOL}/novafleet-image-{sha256}"


def host(name: str, *digests: str, files: tuple[FileFact, ...] = ()) -> HostFacts:
    present = (FileFact(path(digest), 1, 1, 0.0) for digest in digests)
    return HostFacts(
        name,
        0.0,
        files={file.path: file for file in (*present, *files)},
        digests={path(digest): digest for digest in digests},
    )


def facts(*hosts: HostFacts) -> FleetFacts:
    return FleetFacts({each.host: each for each in hosts})


def by_address(changes: tuple[ResourceChange, ...]) -> dict[str, ResourceChange]:
    return {change.address: change for change in changes}


def test_each_host_gets_the_parts_its_vms_and_stacks_use() -> None:
    wanted = {each.address: each.args for each in needs(environment(FROM_DISK, BOOTED, stacks=(STACK,)))}
    assert wanted == {
        "image.mini@kvm1": {"image": "mini", "roles": ["disk"]},
        "image.mini@kvm2": {"image": "mini", "roles": ["kernel", "initrd"]},
        "image.edge.app:1@kvm2": {"stack": "edge", "image": "app:1"},
    }


@pytest.mark.parametrize(
    ("seen", "change"),
    [
        (host("kvm1"), Change.CREATE),
        (host("kvm1", DISK), Change.NONE),
        (replace(host("kvm1", DISK), digests={}), Change.CREATE),
        (replace(host("kvm1", DISK), files={}), Change.CREATE),
    ],
    ids=["absent", "present", "without its sidecar", "sidecar alone"],
)
def test_fetched_when_file_or_digest_is_missing(seen: HostFacts, change: Change) -> None:
    [found] = plan_up(environment(FROM_DISK), facts(seen), PlanOptions())
    assert found.change is change
    assert [step.id for step in found.steps] == (["image.mini@kvm1/fetch"] if change is Change.CREATE else [])


def test_the_pool_is_where_libvirt_says() -> None:
    pool = PoolFact("default", True, "/srv/images/", 1, 1)
    seen = replace(host("kvm1"), pools={"default": pool}, files={}, digests={})
    at = f"/srv/images/novafleet-image-{DISK}"
    there = replace(seen, files={at: FileFact(at, 1, 1, 0.0)}, digests={at: DISK})
    assert plan_up(environment(FROM_DISK), facts(there), PlanOptions())[0].change is Change.NONE


@pytest.mark.parametrize("artifact", [Artifact(url=URL), Artifact(url="file:///etc/shadow", sha256=DISK)])
def test_what_cannot_be_verified_or_pulled_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ConfigError) as caught:
        needs(environment(FROM_DISK, image=replace(IMAGE, disk=artifact)))
    assert caught.value.code == "NF-IMG-008"
    assert caught.value.where == HERE


def test_down_keeps_the_cache_and_down_volumes_empties_it_last() -> None:
    overlay = FileFact(f"{POOL}/lab.db.root.qcow2", 1, 1, 0.0, backing=path(DISK))
    seen = facts(host("kvm1", DISK, files=(overlay,)))
    assert plan_down(environment(FROM_DISK), seen, PlanOptions()) == ()
    [change] = plan_down(environment(FROM_DISK), seen, VOLUMES)
    assert change.change is Change.DELETE
    assert set(change.steps[0].after) == {"vm.db/undefine", "volume.db.root/delete"}


@pytest.mark.parametrize("name", ["other.db.root.qcow2", "lab.db.root.qcow2"], ids=["another's", "protected"])
def test_an_image_that_something_backs_on_is_kept(name: str) -> None:
    overlay = FileFact(f"{POOL}/{name}", 1, 1, 0.0, backing=path(DISK))
    mark = FileFact(f"{POOL}/lab.db.root.qcow2.protected", 0, 0, 0.0)
    seen = facts(host("kvm1", DISK, files=(overlay, mark)))
    [change] = plan_down(environment(FROM_DISK), seen, VOLUMES)
    assert change.change is Change.NONE
    assert name in change.reasons[0].text


def test_an_image_that_another_environment_boots_from_is_kept() -> None:
    xml = f"<domain><name>other-db</name><os><kernel>{path(DISK)}</kernel></os></domain>"
    seen = host("kvm1", DISK)
    booted = replace(seen, domains={"other-db": Domain("other-db", "", "running", xml)})
    [change] = plan_down(environment(FROM_DISK), facts(booted), VOLUMES)
    assert change.change is Change.NONE
    assert "other-db" in change.reasons[0].text


def test_what_a_killed_fetch_left_goes_too() -> None:
    part = FileFact(f"{path(DISK)}.part", 1, 1, 0.0)
    [change] = plan_down(environment(FROM_DISK), facts(host("kvm1", files=(part,))), VOLUMES)
    assert change.change is Change.DELETE


def test_an_archive_goes_after_its_stack() -> None:
    found = by_address(plan_down(environment(stacks=(STACK,)), facts(host("kvm2", ARCHIVE)), VOLUMES))
    assert found["image.edge.app:1@kvm2"].steps[0].after == ("stack.edge/delete",)
