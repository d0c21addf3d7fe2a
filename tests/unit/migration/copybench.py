"""Two hosts that are this machine: libvirts in memory, real files and commands in two folders."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import pytest

from novafleet.capability.migration import beside, keep, manifest, prepare, quarantine, rounds
from novafleet.capability.migration import commit as committing
from novafleet.capability.migration.ends import Ends
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.fleet import Host
from novafleet.model.migration import Mode, Move, MoveDisk, MoveFile, Path, Phase
from novafleet.ports import HostSession, Hypervisor, Json
from tests.localsession import local_session

MIB = 1 << 20
NAME = "mc-vm"


@dataclass(frozen=True, slots=True)
class Side:
    """One end."""

    session: HostSession
    hypervisor: Hypervisor
    host: Host


@dataclass
class Two:
    """Both ends, what was noted, and where their files are."""

    here: FakeHypervisor
    there: FakeHypervisor
    ends: Ends
    folder: File
    phases: list[Phase] = field(default_factory=list)

    def path(self, side: str, name: str) -> File:
        """A file in the pool of ``a`` (the source) or ``b``."""
        return self.folder / side / name

    def listing(self, side: str) -> list[str]:
        """What lies in a pool, quarantine and all."""
        root = self.folder / side
        return sorted(str(each.relative_to(root)) for each in root.rglob("*") if each.is_file())


def run(*argv: str) -> str:
    """What a command says that must succeed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def rename(was: str, now: str) -> None:
    """A file."""
    File(was).rename(now)


def two(folder: File, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Fresh ones."""
    state = folder / "state"
    for side in ("a", "b", "state"):
        (folder / side).mkdir()
    for module in (keep, manifest, prepare):
        monkeypatch.setattr(module, "FOLDER", str(state / "migrate"))
    monkeypatch.setattr(quarantine, "FOLDER", str(state / "quarantine"))
    monkeypatch.setattr(beside, "SAVED", str(state / "saved"))
    monkeypatch.setattr(rounds, "RUN", str(state / "run"))
    assert committing.DAY > 0
    here, there = FakeHypervisor("a"), FakeHypervisor("b")
    phases: list[Phase] = []

    async def note(phase: Phase, _values: Mapping[str, Json]) -> None:
        phases.append(phase)

    sides = [
        Side(local_session(folder, Host(each.host, "127.0.0.1"), user="root"), each, Host(each.host, "127.0.0.1"))
        for each in (here, there)
    ]
    return Two(here, there, Ends(sides[0], sides[1], note, lambda *_: None), folder, phases)


def definition(disks: Mapping[str, File]) -> str:
    """A VM with these disks."""
    root = Element("domain", type="qemu")
    SubElement(root, "name").text = NAME
    SubElement(root, "memory", unit="MiB").text = "32"
    SubElement(root, "vcpu").text = "1"
    SubElement(SubElement(root, "os"), "type", arch="x86_64").text = "hvm"
    devices = SubElement(root, "devices")
    for target, path in disks.items():
        disk = SubElement(devices, "disk", type="file", device="disk")
        SubElement(disk, "driver", name="qemu", type=path.suffix[1:])
        SubElement(disk, "source", file=str(path))
        SubElement(disk, "target", dev=target, bus="virtio")
    return ElementTree.tostring(root, encoding="unicode")


async def make(pair: Two, *, running: bool = True) -> Move:
    """A VM on the source with a raw and a qcow2 disk, a seed, and the move that a dossier would decide."""
    disks = {"vda": pair.path("a", "vm.vda.qcow2"), "vdb": pair.path("a", "vm.vdb.raw")}
    run("qemu-img", "create", "-q", "-f", "qcow2", str(disks["vda"]), "32M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 3M", str(disks["vda"]))
    with disks["vdb"].open("wb") as raw:
        raw.truncate(200 * MIB)
        raw.seek(150 * MIB)
        raw.write(b"data" * 1000)
    pair.path("a", "vm.seed.iso").write_bytes(b"seed" * 99)
    pair.path("a", "vm.seed.iso.sha256").write_text("d1gest\n")
    pair.path("a", "vm.vda.qcow2.protected").touch()
    made = await pair.here.define_domain(definition(disks))
    if running:
        await pair.here.start_domain(NAME)
    return Move(
        job="0badcafe",
        vm=NAME,
        domain=NAME,
        uuid=made.uuid,
        environment="",
        source="a",
        destination="b",
        running=running,
        ladder=(Mode.COLD,),
        path=Path.RELAY,
        xml=made.xml,
        disks=tuple(
            MoveDisk(target, str(path), str(pair.path("b", path.name)), path.suffix[1:], 32 * MIB, 0)
            for target, path in disks.items()
        ),
        files=(MoveFile("cdrom", str(pair.path("a", "vm.seed.iso")), str(pair.path("b", "vm.seed.iso")), 0),),
        autostart=True,
    )
