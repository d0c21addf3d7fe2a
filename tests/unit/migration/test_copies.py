"""Cold copies, the two-step commit and the way back, with real files and libvirts in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as File

import pytest

from novafleet.capability.migration.belongings import belongings, candidates
from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.cold import copy_cold
from novafleet.capability.migration.commit import commit
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.manifest import read_manifest
from novafleet.capability.migration.power import go_on
from novafleet.capability.migration.prepare import prepare, unprepare
from novafleet.capability.migration.quarantine import drop, put_away, quarantine_of, quarantines, record
from novafleet.capability.migration.rollback import rollback
from novafleet.capability.migration.through import Arrived, Load, ThroughController
from novafleet.errors import ChannelError, MigrationError
from novafleet.model.migration import Mode, Move, MoveFile, Phase
from tests.unit.migration.copybench import MIB, NAME, Two, make, rename, run, two

DISKS = ("vm.vda.qcow2", "vm.vdb.raw")


@pytest.fixture
def pair(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> Two:
    return two(tmp_path, monkeypatch)


def content(path: str) -> bytes:
    return File(path).read_bytes() if File(path).exists() else b""


def same(pair: Two, name: str) -> bool:
    return pair.path("a", name).read_bytes() == pair.path("b", name).read_bytes()


async def test_a_cold_copy_is_the_same_and_the_source_keeps_its_disks_for_a_day(pair: Two) -> None:
    move = await make(pair)
    before = {name: pair.path("a", name).read_bytes() for name in DISKS}
    await prepare(pair.ends, move)
    copied = await copy_cold(pair.ends, move)
    assert all(same(pair, name) for name in (*DISKS, "vm.seed.iso", "vm.seed.iso.sha256", "vm.vda.qcow2.protected"))
    assert pair.path("b", "vm.vdb.raw").stat().st_blocks * 512 < 2 * MIB, "holes were filled"
    assert copied.downtime_ms > 0
    assert (await pair.there.domain(NAME)).state == "running"
    kept = await commit(pair.ends, move, Mode.COLD)
    assert NAME not in {each.name for each in await pair.here.domains()}
    assert (await pair.there.domain(NAME)).autostart
    assert {name: content(kept.files[str(pair.path("a", name))]) for name in DISKS} == before
    assert kept.until - kept.at == 86400
    assert await read_manifest(pair.ends.destination, move.job) is None
    assert pair.phases == [Phase.PREPARING, Phase.COPYING, Phase.SWITCHING, Phase.SWITCHED, Phase.COMMITTED]
    await drop(pair.ends.source, kept)
    assert pair.listing("a") == []
    assert await quarantines(pair.ends.source) == ()


async def test_what_is_in_the_way_refuses_before_anything_is_touched(pair: Two) -> None:
    move = await make(pair)
    pair.path("b", "vm.vdb.raw").write_text("another's")
    with pytest.raises(MigrationError) as caught:
        await prepare(pair.ends, move)
    assert (caught.value.code, str(pair.path("b", "vm.vdb.raw")) in caught.value.cause) == ("NF-MIG-401", True)
    assert pair.listing("b") == ["vm.vdb.raw"]
    assert pair.path("b", "vm.vdb.raw").read_text() == "another's"


async def test_only_what_the_manifest_says_is_removed(pair: Two) -> None:
    move = await make(pair)
    await prepare(pair.ends, move)
    mine = pair.path("b", "vm.vdb.raw")
    mine.rename(pair.path("b", "elsewhere"))
    mine.write_text("another's")
    removed = await unprepare(pair.ends.destination, move.job)
    assert pair.listing("b") == ["elsewhere", "vm.vdb.raw"]
    assert str(mine) not in removed
    assert await unprepare(pair.ends.destination, move.job) == ()


SNAPSHOT = """<domainsnapshot><name>one</name>
<description>novafleet: {{"copies": {{"/x": "{0}/vars.copy"}}}}</description>
<memory snapshot='external' file='{0}/vm.memory'/>
<inactiveDomain><devices><disk><source file='{0}/vm.vda.qcow2'/></disk></devices></inactiveDomain>
<disks><disk name='vda'><source file='{0}/vm.vda.qcow2.nf-00000002'/></disk></disks></domainsnapshot>"""


async def with_snapshot(pair: Two) -> Move:
    """The VM on an overlay of its volume, another branch beside it, and what a snapshot keeps."""
    move, root = await make(pair), str(pair.path("a", ""))
    volume, active, branch = (str(pair.path("a", f"vm.vda.qcow2{end}")) for end in ("", ".nf-00000001", ".nf-00000002"))
    for overlay in (active, branch):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", volume, "-F", "qcow2", overlay)
    pair.path("a", "vm.memory").write_bytes(b"memory" * 1000)
    pair.path("a", "vars.copy").write_bytes(b"vars")
    below = str(pair.path("b", "vm.vda.qcow2"))
    first = replace(
        move.disks[0], source=active, path=f"{below}.nf-00000001", chain=(active, volume), backing=below,
        backing_format="qcow2",
    )  # fmt: skip
    files = (*move.files, MoveFile("image", volume, below, 0))
    return replace(move, disks=(first, move.disks[1]), files=files, snapshots=(SNAPSHOT.format(root),))


async def test_images_under_the_active_one_and_other_branches_go_along(pair: Two) -> None:
    move = await with_snapshot(pair)
    await prepare(pair.ends, move)
    await copy_cold(pair.ends, move)
    for name in ("vm.vda.qcow2", "vm.memory", "vars.copy"):
        assert same(pair, name)
    for name in ("vm.vda.qcow2.nf-00000001", "vm.vda.qcow2.nf-00000002"):
        told = run("qemu-img", "info", str(pair.path("b", name)))
        assert f"{pair.path('b', 'vm.vda.qcow2')}\n" in told
    assert set(await belongings(pair.ends.source, move)) == {
        str(pair.path("a", name)) for name in pair.listing("a") if name != "vm.seed.iso.sha256x"
    }
    await rollback(pair.ends, move)
    assert pair.listing("b") == []


async def test_a_seed_is_the_vms_own_on_whatever_drive_it_is_and_no_other_read_only_disk(pair: Two) -> None:
    move = await make(pair)
    seed, other = (
        replace(move.disks[0], source=f"/pool/{name}", readonly=True) for name in ("vm.seed.iso", "tools.iso")
    )
    found = candidates(replace(move, disks=(seed, other), files=()))
    assert "/pool/vm.seed.iso" in found
    assert not [path for path in found if path.startswith("/pool/tools")]


async def test_prepare_again_is_fine(pair: Two) -> None:
    move = await make(pair)
    await prepare(pair.ends, move)
    first = await read_manifest(pair.ends.destination, move.job)
    assert first is not None
    await prepare(pair.ends, move)
    assert await read_manifest(pair.ends.destination, move.job) == first


@pytest.mark.parametrize("running", [True, False])
async def test_the_way_back_makes_the_source_what_it_was(pair: Two, running: bool) -> None:
    move = await make(pair, running=running)
    before = pair.listing("a")
    await pair.here.set_domain_autostart(NAME, True)
    await prepare(pair.ends, move)
    await copy_cold(pair.ends, move)
    await rollback(pair.ends, move)
    found = await pair.here.domain(NAME)
    assert (found.state, found.autostart, found.uuid) == ("running" if running else "shutoff", True, move.uuid)
    assert (pair.listing("a"), pair.listing("b")) == (before, [])
    assert await pair.there.domains() == ()
    await rollback(pair.ends, move)


@pytest.mark.parametrize(
    ("reason", "after"),
    [
        ("migration", "running"),
        ("starting up", "running"),
        ("api error", "running"),
        ("user", "paused"),
        ("ioerror", "paused"),
    ],
)
async def test_only_what_its_migration_paused_goes_on(pair: Two, reason: str, after: str) -> None:
    move = await make(pair)
    pair.here._move(NAME, "paused", reason, "suspended")  # as nobody but libvirt does
    await go_on(pair.ends.source, replace(move, disks=(replace(move.disks[0], shared=True), *move.disks[1:])))
    assert (await pair.here.domain_state(NAME)).state == after


async def test_the_way_back_from_the_middle_of_a_commit(pair: Two) -> None:
    move = await make(pair)
    before = pair.listing("a")
    await prepare(pair.ends, move)
    await copy_cold(pair.ends, move)
    kept = await commit(pair.ends, replace(move, job="11111111"), Mode.COLD)
    await drop(pair.ends.source, replace(kept, files={}))
    await record(pair.ends.source, replace(kept, job="0badcafe", files={}, committed=False))
    assert await quarantine_of(pair.ends.source, "0badcafe") is not None
    for was, now in kept.files.items():
        rename(now, was)
    await rollback(pair.ends, move)
    assert (await pair.here.domain(NAME)).state == "running"
    assert (pair.listing("a"), pair.listing("b")) == (before, [])


async def test_a_commit_that_was_killed_is_gone_on_with(pair: Two) -> None:
    move = await make(pair)
    await prepare(pair.ends, move)
    await copy_cold(pair.ends, move)
    first = await commit(pair.ends, move, Mode.COLD)
    await record(pair.ends.source, replace(first, committed=False))
    was, now = next(iter(first.files.items()))
    rename(now, was)
    assert await commit(pair.ends, move, Mode.COLD) == first
    assert content(now) and not content(was)


async def test_a_source_that_still_runs_it_lets_nothing_go(pair: Two) -> None:
    move = await make(pair)
    with pytest.raises(MigrationError) as caught:
        await commit(pair.ends, move, Mode.COLD)
    assert caught.value.code == "NF-MIG-501"
    assert (await pair.here.domain(NAME)).state == "running"


async def test_another_domain_of_that_name_is_left_alone(pair: Two) -> None:
    move = await make(pair)
    await prepare(pair.ends, move)
    await pair.there.define_domain(move.xml.replace(move.uuid, "00000000-0000-4000-8000-000000000001"))
    with pytest.raises(MigrationError) as caught:
        await rollback(pair.ends, move)
    assert caught.value.code == "NF-MIG-502"
    assert len(await pair.there.domains()) == 1


async def test_a_refused_preparation_is_taken_back_beside_another_vm_of_that_name(pair: Two) -> None:
    move = await make(pair)
    await pair.there.define_domain(move.xml.replace(move.uuid, "00000000-0000-4000-8000-000000000001"))
    pair.path("b", "vm.vdb.raw").write_text("another's")
    with pytest.raises(MigrationError):
        await prepare(pair.ends, move)
    await rollback(pair.ends, move)
    assert (await pair.here.domain(NAME)).state == "running"
    assert len(await pair.there.domains()) == 1
    assert pair.listing("b") == ["vm.vdb.raw"]


async def test_a_guest_that_does_not_shut_down_stays(pair: Two) -> None:
    move = await make(pair)
    pair.here.obedient = False
    await prepare(pair.ends, move)
    with pytest.raises(MigrationError) as caught:
        await copy_cold(pair.ends, move, stop_timeout=0.3)
    assert caught.value.code == "NF-MIG-410"
    await rollback(pair.ends, move)
    assert (await pair.here.domain(NAME)).state == "running"
    assert pair.listing("b") == []


async def test_only_what_is_missing_is_sent_again(pair: Two) -> None:
    source, target = pair.path("a", "disk"), pair.path("b", "disk")
    source.write_bytes(bytes(range(1, 256)) * (130 * MIB // 255))
    run("cp", str(source), str(target))
    with target.open("r+b") as file:
        file.seek(100 * MIB)
        file.write(b"damage")
    carried = await carry(pair.ends, [Cargo("disk", str(source), str(target))], ThroughController())
    assert same(pair, "disk")
    assert carried.sent == 64 * MIB


async def test_what_the_target_has_too_much_goes(pair: Two) -> None:
    source, target = pair.path("a", "disk"), pair.path("b", "disk")
    with source.open("wb") as file:
        file.truncate(90 * MIB + 100)
    target.write_bytes(b"x" * 100 * MIB)
    await carry(pair.ends, [Cargo("disk", str(source), str(target))], ThroughController())
    assert same(pair, "disk")


def spoil(path: str, offset: int) -> None:
    with File(path).open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 10)


class Broken(ThroughController):
    """Loses the connection once, with half of it written, and mixes bytes up another time."""

    def __init__(self) -> None:
        super().__init__()
        self.sends = 0

    async def send(self, ends: Ends, load: Load, tell: Arrived) -> None:
        self.sends += 1
        if self.sends == 1:
            await super().send(ends, replace(load, pieces=load.pieces[: len(load.pieces) // 2]), tell)
            raise ChannelError("cut off")
        await super().send(ends, load, tell)
        if self.sends == 2:
            spoil(load.target, load.pieces[0].offset)


async def test_a_lost_connection_and_wrong_bytes_are_made_good(pair: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.capability.migration.carry.PAUSE", 0.01)
    source, target = pair.path("a", "disk"), pair.path("b", "disk")
    source.write_bytes(bytes(range(1, 256)) * (140 * MIB // 255))
    target.touch()
    sender = Broken()
    carried = await carry(pair.ends, [Cargo("disk", str(source), str(target))], sender)
    assert same(pair, "disk")
    assert sender.sends == 3
    assert carried.sent < 2 * carried.total


async def test_a_record_that_leads_elsewhere_is_none(pair: Two) -> None:
    move = await make(pair)
    await prepare(pair.ends, move)
    await copy_cold(pair.ends, move)
    kept = await commit(pair.ends, move, Mode.COLD)
    precious = pair.path("a", "precious")
    precious.touch()
    await record(pair.ends.source, replace(kept, files={"/x": str(precious)}))
    assert await quarantines(pair.ends.source) == ()
    await put_away(pair.ends.source, kept)
    assert precious.exists()
