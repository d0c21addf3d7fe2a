"""What every hypervisor adapter does with a domain's disks, fake or real (``novafleet/jobs.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from xml.etree import ElementTree

import pytest
import pytest_asyncio

from novafleet.errors import NotFoundError
from novafleet.model.command import Command
from novafleet.model.snapshot import BlockJob, SnapshotFlag
from novafleet.ports import Hypervisor
from tests.contract.hypervisors import LAB_HOSTS, PREFIX, LabHosts, Subject, code_of, subject

NAME = f"{PREFIX}disks"
FOLDER = f"/var/lib/libvirt/images/{PREFIX}disks"
pytestmark = pytest.mark.asyncio(loop_scope="module")
SUBJECTS = ["fake", "test", *(pytest.param(name, marks=pytest.mark.lab) for name in ("kvm1", "kvm2", "kvm3"))]
WITH_JOBS = [each for each in SUBJECTS if each != "test"]

MAKE = 'install -d -o libvirt-qemu -m 0755 "$1" && qemu-img create -q -f qcow2 "$1/vda.qcow2" 64M'
REMOVE = 'rm -rf "$1"'
DEVICES = f"""<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{FOLDER}/vda.qcow2"/>
<target dev="vda" bus="virtio"/></disk>"""
CHANNEL = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>'
BACKUP = f"""<domainbackup mode="pull"><server transport="unix" socket="{FOLDER}/nbd.sock"/><disks>
<disk name="vda" backup="yes" type="file"><driver type="qcow2"/><scratch file="{FOLDER}/vda.scratch"/></disk>
</disks></domainbackup>"""
CHECKPOINT = '<domaincheckpoint><name>{}</name><disks><disk name="vda" checkpoint="bitmap"/></disks></domaincheckpoint>'
EXTERNAL = f"""<domainsnapshot><name>{{0}}</name><description>before {{0}}</description><disks>
<disk name="vda" snapshot="external"><source file="{FOLDER}/vda.{{0}}"/></disk></disks></domainsnapshot>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab_hosts() -> AsyncIterator[LabHosts]:
    async with AsyncExitStack() as stack:
        yield LabHosts(stack)


async def _shell(name: str, lab: LabHosts, script: str) -> None:
    if name in LAB_HOSTS:
        session, _ = await lab.get(name)
        await session.run(Command.script(script, FOLDER, become=session.host.become.enabled))


@pytest_asyncio.fixture(loop_scope="module")
async def under(request: pytest.FixtureRequest, lab_hosts: LabHosts) -> AsyncIterator[Subject]:
    if request.param in LAB_HOSTS:
        request.getfixturevalue("lab")
    async with subject(request.param, lab_hosts) as opened:
        await _shell(request.param, lab_hosts, MAKE)
        yield opened
    await _shell(request.param, lab_hosts, REMOVE)


def domain_xml(under: Subject, devices: str = "") -> str:
    return (
        f'<domain type="{under.domain_type}"><name>{NAME}</name><memory unit="MiB">32</memory><vcpu>1</vcpu>'
        f'<os><type arch="{under.arch}">hvm</type></os><features><acpi/></features>'
        f"<devices>{DEVICES}{devices}</devices></domain>"
    )


async def defined(under: Subject, *, running: bool = False, devices: str = "") -> Hypervisor:
    await under.hypervisor.define_domain(domain_xml(under, devices))
    if running:
        await under.hypervisor.start_domain(NAME)
    return under.hypervisor


async def images(hypervisor: Hypervisor) -> list[str]:
    """The chain of vda as it runs, active image first."""
    element = ElementTree.fromstring(await hypervisor.running_xml(NAME)).find("devices/disk")
    found = []
    while element is not None and (source := element.find("source")) is not None:
        found.append(source.get("file", ""))
        element = element.find("backingStore")
    return found


Verb = Callable[[Hypervisor], Awaitable[object]]
ABSENT = f"{PREFIX}none"
ON_A_DOMAIN: dict[str, Verb] = {
    "begin": lambda h: h.begin_backup(ABSENT, BACKUP),
    "job": lambda h: h.backup_job(ABSENT),
    "abort": lambda h: h.abort_job(ABSENT),
    "checkpoints": lambda h: h.checkpoints(ABSENT),
    "redefine": lambda h: h.redefine_checkpoint(ABSENT, CHECKPOINT.format("a")),
    "delete checkpoint": lambda h: h.delete_checkpoint(ABSENT, "a"),
    "freeze": lambda h: h.freeze(ABSENT),
    "thaw": lambda h: h.thaw(ABSENT),
    "running": lambda h: h.running_xml(ABSENT),
    "snapshots": lambda h: h.snapshots(ABSENT),
    "snapshot": lambda h: h.create_snapshot(ABSENT, EXTERNAL.format("a")),
    "revert": lambda h: h.revert_snapshot(ABSENT, "a"),
    "delete snapshot": lambda h: h.delete_snapshot(ABSENT, "a"),
    "block info": lambda h: h.block_info(ABSENT, "vda"),
    "pull": lambda h: h.block_pull(ABSENT, "vda"),
    "commit": lambda h: h.block_commit(ABSENT, "vda"),
    "block job": lambda h: h.block_job(ABSENT, "vda"),
    "pivot": lambda h: h.pivot_block_job(ABSENT, "vda"),
    "abort block job": lambda h: h.abort_block_job(ABSENT, "vda"),
}


@pytest.mark.parametrize("under", SUBJECTS, indirect=True)
async def test_a_domain_that_is_not_there_is_a_not_found_error(under: Subject) -> None:
    for verb, call in ON_A_DOMAIN.items():
        with pytest.raises(NotFoundError) as caught:
            await call(under.hypervisor)
        assert caught.value.code == "NF-LV-404", verb


@pytest.mark.parametrize("under", SUBJECTS, indirect=True)
async def test_snapshots_form_a_tree_that_children_join_where_their_parent_goes(under: Subject) -> None:
    hypervisor = await defined(under)
    for name in ("a", "b", "c"):
        made = await hypervisor.create_snapshot(NAME, f"<domainsnapshot><name>{name}</name></domainsnapshot>")
        assert (made.name, made.current, made.state) == (name, True, "shutoff")
    assert await code_of(hypervisor.create_snapshot(NAME, "<domainsnapshot><name>a</name></domainsnapshot>"))
    assert [(each.name, each.parent) for each in await hypervisor.snapshots(NAME)] == [
        ("a", ""),
        ("b", "a"),
        ("c", "b"),
    ]
    await hypervisor.revert_snapshot(NAME, "a")
    await hypervisor.create_snapshot(NAME, "<domainsnapshot><name>d</name></domainsnapshot>")
    await hypervisor.delete_snapshot(NAME, "b")
    await hypervisor.delete_snapshot(NAME, "b")
    tree = {each.name: (each.parent, each.current) for each in await hypervisor.snapshots(NAME)}
    assert tree == {"a": ("", False), "c": ("a", False), "d": ("a", True)}
    assert await code_of(hypervisor.revert_snapshot(NAME, "b")) == "NF-LV-404"
    await hypervisor.delete_snapshot(NAME, "a", children=True)
    assert await hypervisor.snapshots(NAME) == ()


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_a_snapshot_that_was_forgotten_is_known_again_by_its_xml(under: Subject) -> None:
    hypervisor = await defined(under)
    text = "<domainsnapshot><name>a</name><description>why &amp; when</description></domainsnapshot>"
    made = await hypervisor.create_snapshot(NAME, text)
    assert made.description == "why & when"
    await hypervisor.delete_snapshot(NAME, "a", metadata_only=True)
    assert await hypervisor.snapshots(NAME) == ()
    again = await hypervisor.create_snapshot(NAME, made.xml, SnapshotFlag.REDEFINE | SnapshotFlag.CURRENT)
    assert (again.name, again.created, again.description, again.current) == (
        "a",
        made.created,
        made.description,
        True,
    )


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_an_overlay_of_a_running_guest_is_committed_back(under: Subject) -> None:
    hypervisor = await defined(under, running=True)
    base, flags = f"{FOLDER}/vda.qcow2", SnapshotFlag.DISK_ONLY | SnapshotFlag.ATOMIC
    for name in ("a", "b"):
        made = await hypervisor.create_snapshot(NAME, EXTERNAL.format(name), flags)
        assert (made.state, made.description) == ("disk-snapshot", f"before {name}")
    assert await images(hypervisor) == [f"{FOLDER}/vda.b", f"{FOLDER}/vda.a", base]
    assert f"{FOLDER}/vda.b" in (await hypervisor.domain(NAME)).xml
    await hypervisor.block_commit(NAME, "vda", top=f"{FOLDER}/vda.a", base=base)
    await _job_gone(hypervisor)
    assert await images(hypervisor) == [f"{FOLDER}/vda.b", base]
    await hypervisor.block_commit(NAME, "vda", base=base, active=True)
    job = await _job(hypervisor, lambda job: job is not None and job.ready)
    assert job is not None
    assert job.kind == "active-commit"
    await hypervisor.pivot_block_job(NAME, "vda")
    await _job_gone(hypervisor)
    assert await images(hypervisor) == [base]
    assert f"{FOLDER}/vda.b" not in (await hypervisor.domain(NAME)).xml
    await hypervisor.abort_block_job(NAME, "vda")
    assert (await hypervisor.block_info(NAME, "vda")).capacity >= 64 << 20


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_an_overlay_pulls_what_lies_under_it(under: Subject) -> None:
    hypervisor = await defined(under, running=True)
    await hypervisor.create_snapshot(NAME, EXTERNAL.format("a"), SnapshotFlag.DISK_ONLY)
    await hypervisor.block_pull(NAME, "vda")
    await _job_gone(hypervisor)
    assert await images(hypervisor) == [f"{FOLDER}/vda.a"]


async def _job(hypervisor: Hypervisor, wanted: Callable[[BlockJob | None], bool]) -> BlockJob | None:
    for _ in range(1500):
        if wanted(job := await hypervisor.block_job(NAME, "vda")):
            return job
        await asyncio.sleep(0.02)
    raise AssertionError(f"the block job is still {job}")


async def _job_gone(hypervisor: Hypervisor) -> None:
    await _job(hypervisor, lambda job: job is None)


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_a_backup_and_its_checkpoint(under: Subject) -> None:
    hypervisor = await defined(under)
    assert await code_of(hypervisor.begin_backup(NAME, BACKUP)) == "NF-LV-122"
    await hypervisor.start_domain(NAME)
    assert await hypervisor.backup_job(NAME) is None
    await hypervisor.begin_backup(NAME, BACKUP, CHECKPOINT.format("one"))
    job = await hypervisor.backup_job(NAME)
    assert job is not None
    assert job.temporary_total >= 64 << 20
    assert "vda" in job.xml
    assert await code_of(hypervisor.begin_backup(NAME, BACKUP)) == "NF-LV-170"
    for _ in range(2):
        await hypervisor.abort_job(NAME)
        assert await hypervisor.backup_job(NAME) is None
    [one] = await hypervisor.checkpoints(NAME)
    assert (one.name, one.parent, "<domain>" in one.xml) == ("one", "", False)


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_checkpoints_are_deleted_forgotten_and_known_again(under: Subject) -> None:
    hypervisor = await defined(under, running=True)
    for name in ("one", "two"):
        await hypervisor.begin_backup(NAME, BACKUP, CHECKPOINT.format(name))
        await hypervisor.abort_job(NAME)
    one, two = await hypervisor.checkpoints(NAME)
    assert two.parent == "one"
    await hypervisor.delete_checkpoint(NAME, "two", metadata_only=True)
    await hypervisor.redefine_checkpoint(NAME, two.xml, validate=True)
    assert [each.name for each in await hypervisor.checkpoints(NAME)] == ["one", "two"]
    for _ in range(2):
        await hypervisor.delete_checkpoint(NAME, "one")
    assert [(each.name, each.parent) for each in await hypervisor.checkpoints(NAME)] == [("two", "")]
    absent = BACKUP.replace("<disks>", "<incremental>never</incremental><disks>", 1)
    assert await code_of(hypervisor.begin_backup(NAME, absent)) in ("NF-LV-404", "NF-LV-121")
    assert one.created <= two.created


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_a_guest_without_an_agent_is_not_frozen(under: Subject) -> None:
    hypervisor = await defined(under, devices=CHANNEL)
    assert await code_of(hypervisor.freeze(NAME)) == "NF-LV-122"
    await hypervisor.start_domain(NAME)
    assert await code_of(hypervisor.freeze(NAME, ("/",))) == "NF-LV-160"
    assert await code_of(hypervisor.thaw(NAME)) == "NF-LV-160"


@pytest.mark.parametrize("under", WITH_JOBS, indirect=True)
async def test_nothing_runs_of_a_stopped_domain(under: Subject) -> None:
    hypervisor = await defined(under)
    assert await hypervisor.running_xml(NAME) == ""
