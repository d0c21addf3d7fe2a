"""One VM's backup from the first look to the new checkpoint, over a libvirt in memory and a host of paper."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from novafleet.capability.backup import actions, adopt, online, read
from novafleet.capability.backup.actions import back_up
from novafleet.capability.backup.history import History
from novafleet.capability.backup.order import Order
from novafleet.capability.backup.read import Pace
from novafleet.errors import BackupError, HypervisorError, NotFoundError, NovaFleetError, SpaceError, StoreError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.backup import Consistency, CopyMode, Snapshot
from novafleet.model.command import Command, Completed
from novafleet.model.fleet import Host
from novafleet.ports import ActionContext, Channel
from novafleet.repository import Repository, epochs
from novafleet.transport.local import open_local
from tests.unit.nbd.memory import MemoryDisk, served
from tests.unit.repository.disks import StillClock, fresh

NAME = "db"
IMAGE = "/pool/db.qcow2"
XML = f"""<domain type='qemu'><name>{NAME}</name><memory>1024</memory><os><type arch='x86_64'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{IMAGE}'/><target dev='disk'/></disk>
</devices></domain>"""
CONTENT = b"data" * 65536
ROOMY = 100 << 30


class Libvirt(FakeHypervisor):
    """Remembers what it was asked for, in order; ``refuse`` may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.refuse: Callable[[str], None] = lambda _job: None

    async def begin_backup(self, name: str, backup_xml: str, checkpoint_xml: str = "") -> None:
        self.asked.append("begin")
        self.refuse(backup_xml)
        await super().begin_backup(name, backup_xml, checkpoint_xml)

    async def abort_job(self, name: str) -> None:
        self.asked.append("abort")
        await super().abort_job(name)

    async def freeze(self, name: str, mountpoints: Any = ()) -> int:
        self.asked.append("freeze")
        return await super().freeze(name, mountpoints)

    async def thaw(self, name: str) -> int:
        self.asked.append("thaw")
        return await super().thaw(name)


@dataclass
class Paper:
    """A session: ``look.sh`` is answered, everything else succeeds and is remembered by its unit or first words."""

    socket: str
    libvirt: Libvirt
    free: int = ROOMY
    left: str = ""
    size: int = len(CONTENT)
    host: Host = field(default_factory=lambda: Host("kvm1", "192.0.2.1"))
    files: dict[str, bytes] = field(default_factory=dict)

    async def push(self, content: bytes, path: str, **_options: Any) -> bool:
        self.files[path] = content
        return True

    async def pull(self, path: str, **_options: Any) -> bytes:
        if path not in self.files:
            raise NotFoundError(path)
        return self.files[path]

    async def run(self, command: Command, **_options: Any) -> Completed:
        text = " ".join(command.argv)
        said = ""
        if "qemu-img info" in text:
            mark = command.argv[4]
            specific = {"data": {"compat": "1.1", "bitmaps": []}}
            image = {"filename": IMAGE, "format": "qcow2", "virtual-size": self.size, "format-specific": specific}
            said = f"{mark} home /q\n{mark} disk disk 0 {self.free} {ROOMY}\n{json.dumps([image])}\n"
        elif command.argv[0] == "systemd-run":
            self.libvirt.asked.append(command.argv[3].removeprefix("--unit=")[:7])
        elif "is-active" in text:
            said = self.left
        return Completed(command.argv, 0, said.encode(), b"")

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> Channel:
        assert path == "/q/nf-backup.sock"
        return await open_local(self.socket)


@dataclass
class Context:
    """``ports.ActionContext``, as far as it is used."""

    session: Paper
    hypervisor: Libvirt
    told: list[str] = field(default_factory=list)

    @property
    def host(self) -> Host:
        return self.session.host

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        self.told.append(text)


@dataclass
class Bench:
    """A running VM with an agent, and an empty repository."""

    context: Context
    repository: Repository
    clock: StillClock = field(default_factory=StillClock)

    @property
    def libvirt(self) -> Libvirt:
        return self.context.hypervisor

    async def back_up(self, consistency: str = "auto", *, full: bool = False) -> Snapshot:
        history = History(self.repository)
        order = Order(NAME, NAME, "", "/lease", Pace(self.clock, 0), history, consistency, full)
        return await back_up(cast("ActionContext", self.context), self.repository, self.clock, order)

    async def checkpoints(self) -> list[str]:
        return [each.name for each in await self.libvirt.checkpoints(NAME)]


class Shifted(StillClock):
    """A clock that is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._by = seconds

    def now(self) -> float:
        return super().now() + self._by


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(served(tmp_path, MemoryDisk(CONTENT)))
        libvirt = Libvirt()
        libvirt.agents[NAME] = lambda _request: '{"return": 2}'
        await libvirt.define_domain(XML)
        await libvirt.start_domain(NAME)
        yield Bench(Context(Paper(socket, libvirt), libvirt), await fresh(tmp_path))


async def test_the_guest_is_frozen_only_while_the_job_begins(bench: Bench) -> None:
    snapshot = await bench.back_up("fs")
    assert bench.libvirt.asked == ["nf-thaw", "freeze", "begin", "thaw", "nf-guar", "abort"]
    assert snapshot.consistency is Consistency.FS
    disk = snapshot.disks["disk"]
    assert (disk.mode, disk.why, disk.size) == (CopyMode.FULL, "first backup of this VM", len(CONTENT))
    assert await bench.checkpoints() == [disk.checkpoint]
    assert await (await bench.repository.disk(disk)).read(0, disk.size) == CONTENT
    assert snapshot.files.keys() == {"domain.xml", "running.xml"}


async def test_thawed_even_when_the_job_does_not_begin(bench: Bench) -> None:
    def refuse(_job: str) -> None:
        raise HypervisorError("no")

    bench.libvirt.refuse = refuse
    with pytest.raises(HypervisorError):
        await bench.back_up("fs")
    assert bench.libvirt.asked == ["nf-thaw", "freeze", "begin", "thaw", "abort"]


async def test_without_an_agent_it_is_as_after_a_power_cut(bench: Bench) -> None:
    bench.libvirt.agents.clear()
    with pytest.raises(BackupError) as refused:
        await bench.back_up("fs")
    assert refused.value.code == "NF-BAK-014"
    assert (await bench.back_up()).consistency is Consistency.CRASH


@pytest.mark.parametrize("off", [False, True], ids=["running", "off"])
async def test_a_vm_without_disks_is_its_definition(bench: Bench, off: bool) -> None:
    """Nothing is frozen or exported for it, and no checkpoint left."""
    root = ElementTree.fromstring(XML)
    devices = root.find("devices")
    assert devices is not None
    devices.clear()
    await bench.libvirt.destroy_domain(NAME)
    await bench.libvirt.undefine_domain(NAME)
    await bench.libvirt.define_domain(ElementTree.tostring(root, encoding="unicode"))
    if not off:
        await bench.libvirt.start_domain(NAME)
    bench.libvirt.asked.clear()
    snapshot = await bench.back_up()
    assert (dict(snapshot.disks), snapshot.consistency) == ({}, Consistency.OFFLINE if off else Consistency.CRASH)
    assert NAME.encode() in await bench.repository.blob(snapshot.files["domain.xml"])
    assert (bench.libvirt.asked, await bench.checkpoints()) == ([], [])
    assert (await bench.back_up()).parent == snapshot.id


async def test_a_broken_bitmap_costs_a_whole_read(bench: Bench) -> None:
    def refuse(job: str) -> None:
        if "incremental" in job:
            raise HypervisorError("broken", code="NF-LV-171")

    first = await bench.back_up("crash")
    bench.libvirt.refuse = refuse
    disk = (await bench.back_up("crash")).disks["disk"]
    assert (disk.mode, disk.bytes_read) == (CopyMode.HASH_INCREMENTAL, len(CONTENT))
    assert "missing or was not closed cleanly" in disk.why
    assert await bench.checkpoints() == [disk.checkpoint]
    assert first.disks["disk"].checkpoint != disk.checkpoint


async def test_what_is_not_committed_leaves_the_old_checkpoint(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = (await bench.back_up("crash")).disks["disk"].checkpoint

    async def create(_key: str, _data: bytes) -> bool:
        raise StoreError("the bucket is gone")

    monkeypatch.setattr(bench.repository.store, "create", create)
    with pytest.raises(NovaFleetError):
        await bench.back_up("crash", full=True)
    assert await bench.checkpoints() == [first]
    assert await bench.libvirt.backup_job(NAME) is None


async def test_what_a_killed_run_left_is_removed(bench: Bench) -> None:
    await bench.libvirt.begin_backup(NAME, "<domainbackup><server socket='/q/nf-backup.sock'/></domainbackup>")
    stale = f"nf-{bench.repository.id[:8]}-0"
    for name in (stale, "theirs", "nf-00000000-1"):
        await bench.libvirt.redefine_checkpoint(NAME, f"<domaincheckpoint><name>{name}</name></domaincheckpoint>")
    bench.context.session.left = "frozen\n"
    bench.libvirt.asked.clear()
    snapshot = await bench.back_up("crash")
    assert bench.libvirt.asked[:2] == ["abort", "thaw"]
    assert set(await bench.checkpoints()) == {"theirs", "nf-00000000-1", snapshot.disks["disk"].checkpoint}


async def test_a_job_of_somebody_else_is_left_alone(bench: Bench) -> None:
    await bench.libvirt.begin_backup(NAME, "<domainbackup><server socket='/theirs'/></domainbackup>")
    with pytest.raises(BackupError) as refused:
        await bench.back_up()
    assert refused.value.code == "NF-BAK-010"
    assert await bench.libvirt.backup_job(NAME) is not None


async def test_no_room_no_job(bench: Bench) -> None:
    bench.context.session.free = 1 << 30
    with pytest.raises(SpaceError) as refused:
        await bench.back_up()
    assert refused.value.code == "NF-BAK-012"
    assert "begin" not in bench.libvirt.asked


LARGE = random.Random(4).randbytes(8 << 20)


class Killed(Exception):
    """As a SIGKILL: nothing of ours runs after it."""


class Mortal(Pace):
    """Kills its reader at the fifth MiB, once."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__(clock, 0)
        self.left = 5

    async def take(self, count: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture
async def large(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A disk of 8 MiB, noted at every step; and nobody cleans up after a failure."""
    (tmp_path / "large").mkdir()
    async with served(tmp_path / "large", MemoryDisk(LARGE)) as socket:
        bench.context.session.socket, bench.context.session.size = socket, len(LARGE)
        monkeypatch.setattr(adopt, "EVERY", 0.0)
        monkeypatch.setattr(read, "AHEAD", 1)
        yield bench


async def killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies in the middle of its disk."""

    async def nothing(*_arguments: Any, **_options: Any) -> None:
        return

    history = History(bench.repository)
    order = Order(NAME, NAME, "", "/lease", Mortal(bench.clock), history, "crash")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(online, "_closed", nothing)
        patched.setattr(actions, "_undo", nothing)
        await back_up(cast("ActionContext", bench.context), bench.repository, bench.clock, order)


async def test_a_job_whose_controller_died_is_taken_up(large: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed(large, monkeypatch)
    note = json.loads(next(iter(large.context.session.files.values())))
    large.libvirt.asked.clear()
    snapshot = await large.back_up("crash")
    disk = snapshot.disks["disk"]
    assert large.libvirt.asked == ["abort"]  # the end of the job: none was begun
    assert snapshot.at == note["at"]
    assert 0 < disk.bytes_read < len(LARGE) - (2 << 20)
    assert "an earlier run had stored" in disk.why
    assert await large.checkpoints() == [note["checkpoint"]] == [disk.checkpoint]
    assert await (await large.repository.disk(disk)).read(0, disk.size) == LARGE


@pytest.mark.parametrize("change", ["full", "consistency", "another job", "no note", "garbage", "committed since"])
async def test_what_does_not_fit_is_begun_anew(large: Bench, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    await killed(large, monkeypatch)
    files = large.context.session.files
    [path] = files
    note = json.loads(files[path])
    if change == "another job":
        disks = "<disks><disk name='x' backup='yes'/></disks>"
        job = f"<domainbackup><server socket='/q/nf-backup.sock'/>{disks}</domainbackup>"
        await large.libvirt.abort_job(NAME)
        await large.libvirt.begin_backup(NAME, job)
    if change == "no note":
        files.clear()
    if change == "garbage":
        files[path] = b'{"checkpoint": 7'
    if change == "committed since":
        files[path] = json.dumps({**note, "parent": "0" * 26}).encode()
    snapshot = await large.back_up("fs" if change == "consistency" else "crash", full=change == "full")
    assert snapshot.at > note["at"]
    assert snapshot.disks["disk"].bytes_read == len(LARGE)
    assert await large.checkpoints() == [snapshot.disks["disk"].checkpoint]


async def test_what_was_stored_and_is_condemned_since_is_read_again(
    large: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await killed(large, monkeypatch)
    store = large.repository.store
    packs = [each.key.rpartition("/")[2] async for each in store.list("packs/")]
    assert await epochs.publish(store, 1, packs, [])
    snapshot = await large.back_up("crash")
    assert snapshot.disks["disk"].bytes_read == len(LARGE)
    later = {each.key.rpartition("/")[2] async for each in store.list("packs/")}
    assert later - set(packs)


async def test_a_clock_that_was_set_back_costs_nothing(bench: Bench) -> None:
    """The newest backup is the one made last: the next builds upon it, and its checkpoint is the one that is kept."""

    def refuse(job: str) -> None:  # our server has no bitmaps; that one was asked for is enough here
        if "incremental" in job:
            raise HypervisorError("broken", code="NF-LV-171")

    made = [await bench.back_up("crash")]
    bench.libvirt.refuse = refuse
    for days in (2, 1, -400, 0):
        bench.clock = Shifted(-days * 86400.0)
        made.append(await bench.back_up("crash"))
        assert made[-1].parent == made[-2].id
        assert made[-2].disks["disk"].checkpoint in made[-1].disks["disk"].why
        assert await bench.checkpoints() == [made[-1].disks["disk"].checkpoint]
    assert [each.id for each in await bench.repository.snapshots()] == [each.id for each in made]
