"""A live migration as its driver sees it: the budget for standing still, deadline, switch, who measured what."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path as File

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.capability.migration import downtime, live
from novafleet.capability.migration.budget import FIRST, Budget
from novafleet.capability.migration.downtime import EventClock, Silence
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.route import Route
from novafleet.capability.migration.sides import Place, judge
from novafleet.errors import NovaFleetError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.model.fleet import Host
from novafleet.model.migration import Mode, Move, MoveDisk, Path, Phase, Progress, Wanted
from novafleet.ports import HostSession, Hypervisor, Json
from tests.localsession import local_session

MIB = 1 << 20
NAME = "ma-guest"
XML = (
    f"<domain type='qemu'><name>{NAME}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm"
    "</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/var/lib/libvirt/images/a.qcow2'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
)
DISK = MoveDisk("vda", "/var/lib/libvirt/images/a.qcow2", "/var/lib/libvirt/images/a.qcow2", "qcow2", MIB, MIB)
ROUTE = Route(Path.RELAY, "b", "unix:///x/mem.sock", "unix:///x/nbd.sock", "/x", survives_controller=False)


@dataclass(frozen=True, slots=True)
class End:
    session: HostSession
    hypervisor: Hypervisor
    host: Host = field(default_factory=lambda: Host("h", ""))


@dataclass(slots=True)
class Pair:
    """Two libvirts in memory, and what was told and noted."""

    a: FakeHypervisor
    b: FakeHypervisor
    ends: Ends
    told: asyncio.Queue[str]


@pytest.fixture
async def pair(tmp_path: File) -> Pair:
    a, b = FakeHypervisor("a"), FakeHypervisor("b")
    a.peers = {"b": b}
    told: asyncio.Queue[str] = asyncio.Queue()

    async def note(phase: Phase, values: Mapping[str, Json]) -> None:
        del phase, values

    ends = Ends(
        End(local_session(tmp_path), a),
        End(local_session(tmp_path), b),
        note,
        lambda text, _done, _total: told.put_nowait(text),
    )
    await a.define_domain(XML)
    await a.start_domain(NAME)
    return Pair(a, b, ends, told)


def move(**changes: object) -> Move:
    known = Move("0123abcd", NAME, NAME, "", "", "a", "b", True, (Mode.LIVE,), Path.RELAY, XML, disks=(DISK,))
    return replace(known, **changes)  # type: ignore[arg-type]


async def test_a_guest_arrives(pair: Pair) -> None:
    moved = await live.migrate_live(pair.ends, move(), ROUTE, Mode.LIVE)
    assert (await pair.b.domain(NAME)).state == "running"
    left = await pair.a.domain(NAME)
    assert (left.state, left.reason, left.persistent) == ("shutoff", "migrated", True)
    assert moved.downtimes["libvirt"] == 50
    assert 0 <= moved.downtimes["events"] < 1000
    assert "probe" not in moved.downtimes


async def test_a_guest_that_is_held_goes_on_once_the_source_let_go(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await live.must_hold(pair.a, move(), Mode.LIVE)
    assert not await live.must_hold(pair.a, move(), Mode.POSTCOPY)
    assert not await live.must_hold(pair.a, move(path=Path.TUNNEL), Mode.LIVE)
    assert not await live.must_hold(pair.a, move(disks=(replace(DISK, shared=True),)), Mode.LIVE)
    resume, seen = pair.b.resume_domain, []

    async def resumed(name: str) -> None:
        seen.extend([(await pair.a.domain(name)).reason, (await pair.b.domain(name)).state])
        await resume(name)

    monkeypatch.setattr(pair.b, "resume_domain", resumed)
    await live.migrate_live(pair.ends, move(), ROUTE, Mode.LIVE, hold=True)
    assert seen == ["migrated", "paused"]
    assert (await pair.b.domain(NAME)).state == "running"


@pytest.mark.parametrize(
    ("path", "mode", "connections"),
    [(Path.TUNNEL, Mode.LIVE, 4), (Path.RELAY, Mode.LIVE, 0), (Path.TUNNEL, Mode.POSTCOPY, 0)],
)
async def test_memory_takes_several_connections_where_they_are_several(
    pair: Pair, path: Path, mode: Mode, connections: int
) -> None:
    """By relay each would be a channel of one SSH connection, and take a session of a host with sudo."""
    wanted = Wanted(parallel=4, compress=True)
    parameters = await live._parameters(pair.a, move(path=path, wanted=wanted), ROUTE, mode)
    assert parameters.get("parallel.connections", 0) == connections
    assert parameters["compression"] == ("zstd" if connections else "xbzrle")
    assert ("parallel" in live._flags(move(path=path, wanted=wanted), ROUTE, mode, hold=False)) is bool(connections)


async def test_a_guest_that_is_paused_stays_so(pair: Pair) -> None:
    await pair.a.suspend_domain(NAME)
    assert not await live.must_hold(pair.a, move(), Mode.LIVE)


async def test_it_is_told_how_far_it_is_and_goes_on_when_let_go(pair: Pair) -> None:
    slow = move(wanted=Wanted(bandwidth=MIB))
    task = asyncio.create_task(live.migrate_live(pair.ends, slow, ROUTE, Mode.LIVE))
    async with asyncio.timeout(10):
        told = await pair.told.get()
        await pair.a.set_migration_speed(NAME, 100 * MIB)
        await task
    assert told.startswith("memory: 512 MiB left, pass 1")


async def test_a_deadline_leaves_it_where_it_was(pair: Pair) -> None:
    slow = move(wanted=Wanted(bandwidth=MIB))
    with pytest.raises(NovaFleetError) as caught:
        await live.migrate_live(pair.ends, slow, ROUTE, Mode.LIVE, seconds=0.3)
    assert caught.value.code == "NF-MIG-201"
    assert (await pair.a.domain(NAME)).state == "running"
    assert not await pair.b.domains()


async def test_postcopy_switches_at_the_deadline_at_the_latest(pair: Pair) -> None:
    slow = move(wanted=Wanted(bandwidth=MIB))
    moved = await live.migrate_live(pair.ends, slow, ROUTE, Mode.POSTCOPY, seconds=0.3)
    assert moved.postcopy
    assert (await pair.b.domain(NAME)).state == "running"


async def test_a_postcopy_that_broke_off_goes_on_by_another_route(pair: Pair) -> None:
    moving = move()
    with pytest.raises(NovaFleetError) as caught:
        await live.resume_postcopy(pair.a, moving, ROUTE)
    assert caught.value.code == "NF-LV-187"
    await pair.b.define_domain(XML)
    await pair.b.start_domain(NAME)
    for half, state in ((pair.a, "paused"), (pair.b, "running")):
        guest = half._guests[NAME]
        guest.state, guest.reason = state, "postcopy failed"
    await live.resume_postcopy(pair.a, moving, ROUTE)
    assert [(await each.domain(NAME)).state for each in (pair.a, pair.b)] == ["shutoff", "running"]


async def test_a_postcopy_without_its_source_has_an_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's own call has none then."""
    monkeypatch.setattr(live, "GONE", 0.0)
    drive = live._Drive(pair.ends, move(), Mode.POSTCOPY, Budget(500), 0.0)
    drive.switched = True
    endless: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for state, reason in (("paused", "postcopy"), ("shutoff", "migrated")):
        guest = pair.a._guests[NAME]
        guest.state, guest.reason = state, reason
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(drive.until(endless), 3 * live.POLL)
    guest.reason = "crashed"
    async with asyncio.timeout(10):
        with pytest.raises(NovaFleetError) as caught:
            await drive.until(endless)
    assert caught.value.code == "NF-MIG-206"


async def test_who_goes_away_leaves_no_migration_behind(pair: Pair) -> None:
    slow = move(wanted=Wanted(bandwidth=MIB))
    task = asyncio.create_task(live.migrate_live(pair.ends, slow, ROUTE, Mode.LIVE))
    async with asyncio.timeout(10):
        await pair.told.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await pair.a.migration(NAME)).kind == "none"
    assert (await pair.a.domain(NAME)).state == "running"


@pytest.mark.parametrize(
    ("disks", "flag", "listed"),
    [
        ((DISK,), "non_shared_inc", ["vda"]),
        ((replace(DISK, chain=("/a", "/base"), backing="/base"),), "non_shared_inc", ["vda"]),
        ((replace(DISK, chain=("/a", "/base")),), "non_shared_disk", ["vda"]),
        ((replace(DISK, chain=("/a", "/middle", "/base"), backing="/base"),), "non_shared_disk", ["vda"]),
        ((DISK, replace(DISK, target="vdb", shared=True)), "non_shared_inc", ["vda"]),
        ((replace(DISK, shared=True), replace(DISK, target="sda", readonly=True)), "", None),
    ],
)
async def test_what_is_copied_is_said_disk_by_disk(
    pair: Pair, disks: tuple[MoveDisk, ...], flag: str, listed: list[str] | None
) -> None:
    """Without a list libvirt copies every writable disk, shared ones too; and ``inc`` copies only the top image."""
    wanted = move(disks=disks)
    flags = live._flags(wanted, ROUTE, Mode.LIVE, hold=False)
    assert {each for each in flags if each.startswith("non_shared")} == ({flag} if flag else set())
    assert "undefine_source" not in flags
    assert ("unsafe" in flags) == any(disk.shared for disk in disks)
    parameters = await live._parameters(pair.a, wanted, ROUTE, Mode.LIVE)
    assert parameters.get("migrate_disks") == listed
    assert ("disks_uri" in parameters) == bool(listed)


async def test_another_path_goes_into_both_definitions(pair: Pair) -> None:
    wanted = move(disks=(replace(DISK, path="/srv/vms/a.qcow2"),))
    parameters = await live._parameters(pair.a, wanted, ROUTE, Mode.LIVE)
    for key in ("destination_xml", "persistent_xml"):
        assert "/srv/vms/a.qcow2" in str(parameters[key])


def test_the_limit_grows_only_when_passes_bring_nothing() -> None:
    budget = Budget(500)
    assert budget.limit == FIRST
    busy = Progress("unbounded", memory_remaining=100 * MIB, rate=100 * MIB, dirty_rate=90 * MIB, iteration=1)
    assert not budget.raised(busy)
    assert budget.raised(replace(busy, iteration=2))
    assert budget.limit == 75
    assert not budget.raised(replace(busy, iteration=3))
    assert not budget.raised(replace(busy, iteration=4, memory_remaining=MIB))
    assert budget.raised(replace(busy, iteration=4))


def test_a_guest_that_outruns_its_copy_is_given_up() -> None:
    budget = Budget(60)
    busy = Progress("unbounded", memory_remaining=100 * MIB, rate=100 * MIB, dirty_rate=90 * MIB)
    assert budget.raised(replace(busy, iteration=2))
    assert budget.limit == 60
    assert not budget.hopeless(replace(busy, iteration=10))
    assert budget.hopeless(replace(busy, iteration=22))
    assert not budget.hopeless(replace(busy, iteration=22, dirty_rate=10 * MIB))


@given(
    st.integers(1, 5000),
    st.lists(st.builds(Progress, iteration=st.integers(0, 99), memory_remaining=st.integers(0), rate=st.integers(0))),
)
def test_nobody_stands_still_for_longer_than_allowed(cap: int, seen: list[Progress]) -> None:
    budget = Budget(cap)
    limits = [budget.limit]
    for progress in seen:
        budget.raised(progress)
        limits.append(budget.limit)
    assert limits == sorted(limits)
    assert max(limits) <= cap


def test_events_of_both_hosts_bound_the_pause() -> None:
    assert EventClock(10.0, 10.25).milliseconds == 250
    assert EventClock(10.0, 0.0).milliseconds == -1
    assert EventClock(0.0, 10.0).milliseconds == -1


def test_the_longest_silence_counts_without_the_pause_between_questions() -> None:
    silence = Silence()
    for line in (
        b"PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.",
        b"[100.000000] 64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.3 ms",
        b"[100.010000] 64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.3 ms",
        b"[100.260000] 64 bytes from 10.0.0.2: icmp_seq=27 ttl=64 time=0.3 ms",
        b"[100.270000] 64 bytes from 10.0.0.2: icmp_seq=28 ttl=64 time=0.3 ms",
        b"\xff\xfe",
    ):
        silence.hear(line)
    assert silence.answers == 4
    assert silence.milliseconds == pytest.approx(240)
    assert Silence().milliseconds == -1


async def _itself(session: HostSession) -> HostSession:
    return session


@pytest.mark.skipif(shutil.which("ping") is None, reason="this machine has no ping")
async def test_whoever_reaches_the_guest_asks_it(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pings; the first watcher that reaches an address is the one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "virsh").write_text("#!/bin/sh\necho ' eth0 52:54:00:00:00:01 ipv4 127.0.0.1/8'\n")
    (tools / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(downtime, "_routable", bool)
    here = local_session(tmp_path)
    there = partial(_itself, here)
    async with asyncio.timeout(20), downtime.outside(End(here, FakeHypervisor("a")), NAME, [there]) as silence:
        while silence.answers < 5:
            await here.run(Command(("true",)))
    assert (silence.watcher, silence.address) == (here.host.name, "127.0.0.1")
    assert 0 <= silence.milliseconds < 10_000


async def test_a_guest_nobody_reaches_is_not_measured(tmp_path: File) -> None:
    here = local_session(tmp_path)
    async with downtime.outside(End(here, FakeHypervisor("a")), NAME, [partial(_itself, here)]) as silence:
        pass
    assert silence.milliseconds == -1


def domain(state: str, reason: str = "unknown", *, persistent: bool = True) -> Domain:
    return Domain(NAME, "u", state, XML, persistent, False, reason)


@pytest.mark.parametrize(
    ("here", "there", "running", "place"),
    [
        (domain("running"), None, True, Place.SOURCE),
        (domain("shutoff", "migrated"), domain("running", "migrated"), True, Place.DESTINATION),
        (domain("running"), domain("running"), True, Place.UNCLEAR),
        (domain("running"), domain("paused", "migration"), True, Place.SOURCE),
        (domain("running"), domain("paused", "user"), True, Place.SOURCE),
        (domain("shutoff", "migrated"), domain("paused", "user"), True, Place.DESTINATION),
        (domain("shutoff", "crashed"), domain("paused", "user"), True, Place.UNCLEAR),
        (domain("running", "postcopy failed"), domain("paused", "migration"), True, Place.UNCLEAR),
        (domain("paused", "migration"), domain("paused", "migration"), True, Place.UNCLEAR),
        (domain("paused", "migration"), None, True, Place.SOURCE),
        (domain("paused", "user"), None, True, Place.SOURCE),
        (domain("paused", "postcopy"), domain("running", "postcopy"), True, Place.UNCLEAR),
        (domain("paused", "postcopy failed"), domain("paused", "postcopy failed"), True, Place.UNCLEAR),
        (domain("shutoff", "shutdown"), domain("shutoff"), True, Place.SOURCE),
        (domain("shutoff", "shutdown"), domain("shutoff"), False, Place.DESTINATION),
        (domain("shutoff", "shutdown"), None, False, Place.SOURCE),
        (domain("shutoff", "migrated"), None, True, Place.UNCLEAR),
        (domain("shutoff", "migrated"), domain("shutoff", "crashed"), True, Place.UNCLEAR),
        (domain("shutoff", "migrated"), domain("running", "postcopy"), True, Place.DESTINATION),
        (domain("shutoff", "crashed"), domain("running", "postcopy"), True, Place.UNCLEAR),
        (None, domain("running"), True, Place.DESTINATION),
        (None, None, True, Place.UNCLEAR),
    ],
)
def test_only_what_both_hosts_show_decides(
    here: Domain | None, there: Domain | None, running: bool, place: Place
) -> None:
    assert judge(here, there, running=running) is place
