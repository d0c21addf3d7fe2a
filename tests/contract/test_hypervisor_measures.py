"""What every hypervisor adapter compares and measures before a migration (``novafleet/jobs.py``, ``Measures``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from novafleet.errors import NotFoundError
from tests.contract.hypervisors import LAB_HOSTS, PREFIX, LabHosts, Subject, code_of, subject

NAME = f"{PREFIX}measured"
pytestmark = pytest.mark.asyncio(loop_scope="module")
SUBJECTS = ["fake", *(pytest.param(name, marks=pytest.mark.lab) for name in ("kvm1", "kvm2", "kvm3"))]
PLAIN = '<cpu mode="custom" match="exact"><model fallback="forbid">qemu64</model></cpu>'
DEMANDING = PLAIN.replace("</cpu>", '<feature policy="require" name="amx-tile"/></cpu>')
DOMAIN = f"""<domain type="qemu"><name>{NAME}</name><memory unit="MiB">32</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="pc">hvm</type></os><devices/></domain>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab_hosts() -> AsyncIterator[LabHosts]:
    async with AsyncExitStack() as stack:
        yield LabHosts(stack)


@pytest_asyncio.fixture(params=SUBJECTS, loop_scope="module")
async def under(request: pytest.FixtureRequest, lab_hosts: LabHosts) -> AsyncIterator[Subject]:
    if request.param in LAB_HOSTS:
        request.getfixturevalue("lab")
    async with subject(request.param, lab_hosts) as opened:
        yield opened


async def test_a_cpu_is_possible_or_it_is_said_what_is_lacking(under: Subject) -> None:
    assert await under.hypervisor.compare_cpu(PLAIN, arch="x86_64", machine="pc", kind="qemu") == ""
    lacking = await under.hypervisor.compare_cpu(DEMANDING, arch="x86_64", machine="pc", kind="qemu")
    assert "amx-tile" in lacking


async def test_the_load_of_running_guests_disks(under: Subject) -> None:
    with pytest.raises(NotFoundError):
        await under.hypervisor.disk_load([NAME])
    await under.hypervisor.define_domain(DOMAIN)
    assert not (await under.hypervisor.disk_load([NAME])).get(NAME)
    await under.hypervisor.start_domain(NAME)
    assert await under.hypervisor.disk_load([NAME]) == {NAME: {}}
    assert await under.hypervisor.disk_load([]) == {}
    await under.hypervisor.destroy_domain(NAME)
    await under.hypervisor.undefine_domain(NAME)


async def test_the_dirty_rate_of_a_running_guest_only(under: Subject) -> None:
    with pytest.raises(NotFoundError):
        await under.hypervisor.dirty_rate(NAME)
    await under.hypervisor.define_domain(DOMAIN)
    assert await code_of(under.hypervisor.dirty_rate(NAME)) == "NF-LV-122"
    await under.hypervisor.start_domain(NAME)
    assert await under.hypervisor.dirty_rate(NAME) >= 0
    await under.hypervisor.destroy_domain(NAME)
