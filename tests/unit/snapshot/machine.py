"""A VM whose images are real files of this machine (``qemu-img``) and whose libvirt is the fake; it can be cut off at
any call, as a killed controller is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from novafleet.capability.snapshot.actions import registry
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.look import Survey, observe
from novafleet.errors import HypervisorError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.hypervisor.guests import source
from novafleet.model.fleet import Host
from novafleet.model.snapshot import DomainSnapshot, SnapshotFlag
from novafleet.ports import Outcome
from tests.localsession import local_session

NAME = "db"
BLOCK = 65536
BLOCKS = 16
NEEDED = [program for program in ("qemu-img", "qemu-io") if not shutil.which(program)]
needs_qemu = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)} (qemu-utils)")


class CutOffError(BaseException):
    """The controller is dead."""


def qemu_img(*words: str) -> str:
    return subprocess.run(("qemu-img", *words), check=True, capture_output=True, text=True).stdout


def qemu_io(form: str, command: str, path: str) -> None:
    subprocess.run(("qemu-io", "-f", form, "-c", command, path), check=True, capture_output=True)


class Libvirt(FakeHypervisor):
    """The fake, with overlays and merges done to real files."""

    refuses_inside = False
    minds_checkpoints = False

    async def create_snapshot(self, name: str, xml: str, flags: SnapshotFlag = SnapshotFlag.NONE) -> DomainSnapshot:
        if self.minds_checkpoints and SnapshotFlag.REDEFINE in flags and await self.checkpoints(name):
            raise HypervisorError("this libvirt or driver cannot do that", code="NF-LV-120", cause="checkpoint exists")
        within = list(ElementTree.fromstring(xml).iterfind("disks/disk[@snapshot='internal']"))
        if within and SnapshotFlag.REDEFINE not in flags:
            if self.refuses_inside:
                what = "this libvirt or driver cannot do that"
                raise HypervisorError(what, code="NF-LV-120", cause="not while checkpoint exists")
            self._each_image(name, "-c", ElementTree.fromstring(xml).findtext("name", ""))
        if SnapshotFlag.REDEFINE not in flags:
            for disk in ElementTree.fromstring(xml).iterfind("disks/disk[@snapshot='external']"):
                active = ElementTree.fromstring((await self.domain(name)).xml)
                for each in active.iterfind("devices/disk"):
                    if each.find("target").get("dev") == disk.get("name"):  # type: ignore[union-attr]
                        under = each.find("source").get("file")  # type: ignore[union-attr]
                        form = each.find("driver").get("type")  # type: ignore[union-attr]
                        path = disk.find("source").get("file")  # type: ignore[union-attr]
                        qemu_img("create", "-q", "-f", "qcow2", "-b", str(under), "-F", str(form), str(path))
        return await super().create_snapshot(name, xml, flags)

    def _each_image(self, name: str, flag: str, snapshot: str) -> None:
        for each in self._guests[name].tree.iterfind("devices/disk"):
            qemu_img("snapshot", "-q", flag, snapshot, source(each))

    async def revert_snapshot(
        self, name: str, snapshot: str, *, running: bool = False, paused: bool = False, force: bool = False
    ) -> None:
        self._each_image(name, "-a", snapshot)
        await super().revert_snapshot(name, snapshot, running=running, paused=paused, force=force)

    async def delete_snapshot(
        self, name: str, snapshot: str, *, children: bool = False, metadata_only: bool = False
    ) -> None:
        if not metadata_only:
            self._each_image(name, "-d", snapshot)
        await super().delete_snapshot(name, snapshot, children=children, metadata_only=metadata_only)

    async def block_commit(
        self, name: str, disk: str, *, top: str = "", base: str = "", active: bool = False, bandwidth: int = 0
    ) -> None:
        qemu_img("commit", "-q", "-d", "-f", "qcow2", "-b", base, top)
        if not active:
            images = self.chain(source(self._guests[name].disks(disk)[0]))
            above = images[images.index(top) - 1]
            form = self._formats.get(base, "qcow2")
            qemu_img("rebase", "-q", "-u", "-f", "qcow2", "-b", base, "-F", form, above)
        await super().block_commit(name, disk, top=top, base=base, active=active, bandwidth=bandwidth)


class Cutting:
    """Passes calls on until the ``after``-th; then the controller is dead, before or after its effect."""

    def __init__(self, part: Any, fuse: Fuse) -> None:
        self._part, self._fuse = part, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value):
            return value
        if name == "stream":
            return self._stream

        async def call(*words: Any, **more: Any) -> Any:
            self._fuse.burn(before=True)
            answer = await value(*words, **more)
            self._fuse.burn(before=False)
            return answer

        return call

    @asynccontextmanager
    async def _stream(self, *words: Any, **more: Any) -> AsyncIterator[Any]:
        self._fuse.burn(before=True)
        async with self._part.stream(*words, **more) as running:
            yield running
        self._fuse.burn(before=False)


@dataclass(slots=True)
class Fuse:
    """Counts calls; 0 never burns through. Who is dead stays so."""

    left: int = 0
    before: bool = True
    burnt: bool = False

    def burn(self, *, before: bool) -> None:
        if self.burnt:
            raise CutOffError
        if self.left and before == self.before:
            self.left -= 1
            if not self.left:
                self.burnt = True
                raise CutOffError


@dataclass(slots=True)
class Context:
    """Implements ``ports.ActionContext`` as far as snapshots go."""

    session: Any
    hypervisor: Any
    host: Host = field(default_factory=lambda: Host("local", "127.0.0.1"))
    run_id: str = "r1"
    environment: Any = None
    said: list[str] = field(default_factory=list)

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        self.said.append(text)


class Machine:
    """The VM ``db`` with a raw disk vdb of 1 MiB (of ``form``), and unless ``lean`` a qcow2 disk vda."""

    def __init__(self, folder: Path, *, lean: bool = False, form: str = "raw") -> None:
        self.folder = folder
        self.lean = lean
        self.form = form
        self.libvirt = Libvirt("local")
        self.session = local_session(folder, user="root")
        self.tokens = 0

    async def make(self, *, running: bool = False) -> None:
        disks = ""
        for target, name, form in (("vda", "vda.qcow2", "qcow2"), ("vdb", "vdb.img", self.form)):
            if target == "vdb" or not self.lean:
                qemu_img("create", "-q", "-f", form, str(self.folder / name), str(BLOCK * BLOCKS))
                disks += (
                    f'<disk type="file" device="disk"><driver name="qemu" type="{form}"/>'
                    f'<source file="{self.folder}/{name}"/><target dev="{target}" bus="virtio"/></disk>'
                )
        channel = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>'
        await self.libvirt.define_domain(
            f'<domain type="qemu"><name>{NAME}</name><memory unit="MiB">32</memory><vcpu>1</vcpu>'
            f'<os><type arch="x86_64">hvm</type></os><devices>{disks}{channel}</devices></domain>'
        )
        if running:
            await self.libvirt.start_domain(NAME)

    def keep(self) -> None:
        """Remember how everything is, for ``again``."""
        shutil.copytree(self.folder, f"{self.folder}.kept")
        self._kept = deepcopy((self.libvirt._guests, self.libvirt.backing, self.libvirt._formats))

    def again(self) -> None:
        """As it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(f"{self.folder}.kept", self.folder)
        self.libvirt._guests, self.libvirt.backing, self.libvirt._formats = deepcopy(self._kept)

    async def seen(self) -> Survey:
        return await observe(self.session, self.libvirt, NAME)

    async def act(self, action: str, fuse: Fuse | None = None, **args: Any) -> Outcome:
        fuse = fuse or Fuse()
        context = Context(Cutting(self.session, fuse), Cutting(self.libvirt, fuse))
        words = {"label": f"local/{NAME}", "domain": NAME, **args}
        return await registry(Freezer())[f"snapshot.{action}"].do(context, words)  # type: ignore[arg-type]

    async def create(self, name: str, fuse: Fuse | None = None, **more: Any) -> Outcome:
        return await self.act("create", fuse, name=name, mode="crash", token=self.token(), **more)

    async def remove(self, *names: str, fuse: Fuse | None = None) -> None:
        await self.act("forget", fuse, names=list(names))
        await self.act("tidy", fuse)

    async def revert(self, name: str, fuse: Fuse | None = None) -> None:
        await self.act("stop", fuse)
        await self.act("switch", fuse, name=name, token=self.token())
        await self.act("tidy", fuse)

    def token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:08x}"

    async def write(self, block: int, value: int) -> None:
        """As the guest would, to both disks."""
        for path, form in (await self.active()).values():
            command = f"write -q -P {value} {block * BLOCK} {BLOCK}"
            qemu_io(form, command, path)

    async def active(self) -> dict[str, tuple[str, str]]:
        return {disk.target: (disk.path, disk.format) for disk in (await self.seen()).disks.values()}

    def read(self, path: str, form: str) -> list[int]:
        """The first byte of each block."""
        raw = Path(f"{path}.raw-copy")
        qemu_img("convert", "-f", form, "-O", "raw", path, str(raw))
        data = raw.read_bytes()
        raw.unlink()
        return [data[block * BLOCK] for block in range(BLOCKS)]

    async def contents(self) -> dict[str, list[int]]:
        """What the VM and each of its snapshots hold (both disks alike)."""
        seen = await self.seen()
        found = {"": [self.read(*image) for image in (await self.active()).values()]}
        for taken in seen.snapshots:
            disks = taken.contents.values()
            found[taken.name] = [self.read(disk.path, seen.images[disk.path].format) for disk in disks]
        assert all(disks == disks[:1] * len(disks) for disks in found.values()), found
        return {name: disks[0] for name, disks in found.items() if disks}

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())
