"""What every hypervisor adapter does with a migration, fake or real (``novafleet/jobs.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from novafleet.capability.migration.route import open_route
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.fleet import Host
from novafleet.model.migration import Path, Progress
from novafleet.model.snapshot import SnapshotFlag
from novafleet.ports import HostSession, Hypervisor
from tests.contract.hypervisors import LAB_HOSTS, PREFIX, clean, code_of, lab_session

NAME = f"{PREFIX}travels"
XML = (
    f'<domain type="qemu"><name>{NAME}</name><memory unit="MiB">64</memory><vcpu>1</vcpu>'
    '<os><type arch="x86_64" machine="{}">hvm</type></os></domain>'
)
FLAGS = frozenset({"live", "peer2peer", "persist_dest"})
SLOW = {"bandwidth": 1}
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass(slots=True)
class End:
    """A lab host, as a route takes it."""

    host: Host
    session: HostSession
    hypervisor: Hypervisor


@dataclass(slots=True)
class Pair:
    """Two hypervisors, and how the first reaches the second."""

    source: Hypervisor
    destination: Hypervisor
    uri: str
    parameters: dict[str, object] = field(default_factory=dict)
    machine: str = "pc"

    async def start(self) -> None:
        await self.source.define_domain(XML.format(self.machine))
        await self.source.start_domain(NAME)

    async def migrate(self, *flags: str, **parameters: object) -> None:
        await self.source.migrate(NAME, self.uri, {**self.parameters, **parameters}, FLAGS | set(flags))

    async def under_way(self) -> Progress:
        async with asyncio.timeout(60):
            while True:
                found = await self.source.migration(NAME)
                if found.kind in ("bounded", "unbounded") and found.memory_total:
                    return found
                await asyncio.sleep(0)


@pytest_asyncio.fixture(loop_scope="module", params=["fake", pytest.param("lab", marks=pytest.mark.lab)])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    if request.param == "fake":
        one, other = FakeHypervisor("a"), FakeHypervisor("b")
        one.peers = {"b": other}
        yield Pair(one, other, "b")
        return
    request.getfixturevalue("lab")
    async with AsyncExitStack() as stack:
        ends = []
        for name in ("kvm2", "kvm3"):
            session, hypervisor = await stack.enter_async_context(lab_session(LAB_HOSTS[name]))
            stack.push_async_callback(clean, hypervisor)
            await clean(hypervisor)
            ends.append(End(session.host, session, hypervisor))
        route = await stack.enter_async_context(open_route(Path.RELAY, ends[0], ends[1], "c0117ac7"))
        yield Pair(ends[0].hypervisor, ends[1].hypervisor, route.uri, {"migrate_uri": route.memory_uri})


async def test_it_arrives_and_stays_defined_on_both(pair: Pair) -> None:
    await pair.start()
    await pair.migrate()
    here, there = await pair.source.domain(NAME), await pair.destination.domain(NAME)
    assert (here.state, here.reason, here.persistent) == ("shutoff", "migrated", True)
    assert (there.state, there.reason, there.persistent) == ("running", "migrated", True)
    final = await pair.source.migration(NAME, completed=True)
    assert (final.kind, final.downtime_ms > 0, final.memory_total > 0) == ("completed", True, True)
    assert (await pair.source.migration(NAME, completed=True)).kind == "none", "told once"
    assert (await pair.source.migration(NAME)).kind == "none"


async def test_one_that_is_held_waits_there_for_a_word(pair: Pair) -> None:
    await pair.start()
    await pair.migrate("paused")
    here, there = await pair.source.domain_state(NAME), await pair.destination.domain_state(NAME)
    assert (here.state, here.reason) == ("shutoff", "migrated")
    assert (there.state, there.reason) == ("paused", "user")
    await pair.destination.resume_domain(NAME)
    assert (await pair.destination.domain_state(NAME)).state == "running"


async def test_one_that_is_called_off_runs_on(pair: Pair) -> None:
    await pair.start()
    task = asyncio.create_task(pair.migrate(**SLOW))
    await pair.under_way()
    await pair.source.set_max_downtime(NAME, 70)
    await pair.source.abort_migration(NAME)
    assert await code_of(task) == "NF-LV-182"
    assert (await pair.source.domain(NAME)).state == "running"
    assert NAME not in {each.name for each in await pair.destination.domains()}
    await pair.source.abort_migration(NAME)


async def test_whoever_goes_away_calls_it_off(pair: Pair) -> None:
    await pair.start()
    task = asyncio.create_task(pair.migrate(**SLOW))
    await pair.under_way()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await pair.source.migration(NAME)).kind == "none"
    assert (await pair.source.domain(NAME)).state == "running"


async def test_it_can_be_let_go_faster(pair: Pair) -> None:
    await pair.start()
    task = asyncio.create_task(pair.migrate(**SLOW))
    await pair.under_way()
    await pair.source.set_migration_speed(NAME, 1 << 30)
    await task
    assert (await pair.destination.domain(NAME)).state == "running"


async def test_a_guest_with_snapshots_is_refused(pair: Pair) -> None:
    await pair.start()
    taken = f"<domainsnapshot><name>a</name><state>shutoff</state>{XML.format(pair.machine)}</domainsnapshot>"
    uuid = f"<uuid>{(await pair.source.domain(NAME)).uuid}</uuid>"
    taken = taken.replace("</name><memory", f"</name>{uuid}<memory").replace(
        "</state>", "</state><creationTime>1</creationTime>"
    )
    await pair.source.create_snapshot(NAME, taken, SnapshotFlag.REDEFINE)
    assert await code_of(pair.migrate()) == "NF-LV-183"
    await pair.source.delete_snapshot(NAME, "a", metadata_only=True)
    await pair.migrate()


async def test_nobody_there_is_told_as_such(pair: Pair) -> None:
    await pair.start()
    pair.uri = "qemu+unix:///system?socket=/nonexistent"
    assert await code_of(pair.migrate()) == "NF-LV-181"
    assert (await pair.source.domain(NAME)).state == "running"


async def test_without_a_migration_nothing_can_be_steered(pair: Pair) -> None:
    await pair.start()
    assert await code_of(pair.source.start_postcopy(NAME)) in ("NF-LV-186", "NF-LV-187")
    await pair.source.abort_migration(NAME)


async def test_postcopy_needs_its_flag(pair: Pair) -> None:
    await pair.start()
    task = asyncio.create_task(pair.migrate(**SLOW))
    await pair.under_way()
    assert await code_of(pair.source.start_postcopy(NAME)) == "NF-LV-187"
    await pair.source.abort_migration(NAME)
    await code_of(task)


async def test_the_definition_for_another_host_has_its_secrets(pair: Pair) -> None:
    xml = XML.format("pc").replace(
        "</domain>", "<devices><graphics type='vnc' port='-1' passwd='s3cret'/></devices></domain>"
    )
    await pair.source.define_domain(xml)
    assert "s3cret" in await pair.source.migratable_xml(NAME, inactive=True)
