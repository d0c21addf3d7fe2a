"""VMs for backup tests: no guest system, disks written through the device itself, so that every bitmap sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import pytest

from novafleet.objectstore.open import open_store
from novafleet.repository import KeySource, Repository
from tests.labfixture import Lab, fleet_environment

FOLDER = "/var/lib/libvirt/images/f-backup"
DIGESTS = """\
copy=$(mktemp)
for image; do
  case $image in *.raw) format=raw ;; *) format=qcow2 ;; esac
  qemu-img convert -U -f $format -O raw "$image" "$copy" && sha256sum <"$copy" | cut -d' ' -f1
done
rm "$copy"
"""
QUIET = "virsh", "-q", "-c", "qemu:///system"


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition; fails the test when it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@dataclass(frozen=True)
class Shop:
    """One lab host, a repository, and NovaFleet as a person runs it."""

    lab: Lab
    host: str
    home: Path
    key: Path
    repository: Path | str
    """A directory, or the URL of another store."""

    def command(self, *words: str) -> list[str]:
        """``novafleet …`` with inventory, repository and key."""
        where = ("--repo", str(self.repository), "--key-file", str(self.key))
        program = str(Path(sys.executable).parent / "novafleet")
        return [program, "-i", str(self.lab.inventory), *words, *where]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Run in the background, its words kept from the terminal."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*words), stdout=pipe, stderr=pipe, env=fleet_environment(self.home))

    def run(self, *words: str, status: int = 0) -> Any:
        """The JSON a command prints."""
        return self.ended(self.start(*words, "-o", "json"), status)

    def ended(self, process: subprocess.Popen[bytes], status: int = 0) -> Any:
        """The JSON of a command that was started."""
        said, complaint = process.communicate(timeout=300)
        assert process.returncode == status, f"{process.returncode}: {complaint.decode()} {said.decode()}"
        return json.loads(said)

    def on(self, *argv: str, check: bool = True) -> str:
        """A command on the host, past NovaFleet."""
        return self.lab.on(self.host, *argv, check=check)

    def virsh(self, *words: str) -> str:
        """virsh there."""
        return self.on(*QUIET, *words)


@dataclass
class Machine:
    """A VM on that host. ``taken`` maps a snapshot to the digest of each disk when it was taken."""

    shop: Shop
    name: str
    disks: dict[str, str] = field(default_factory=dict)
    taken: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where its disks are."""
        return f"{FOLDER}/{self.name}"

    def create(self, *sizes: tuple[str, str, str], extra: Callable[[ElementTree.Element], None] | None = None) -> None:
        """Define it with disks (target, format, size)."""
        self.shop.on("mkdir", "-p", self.folder)
        root = ElementTree.Element("domain", type="qemu")
        SubElement(root, "name").text = self.name
        SubElement(root, "uuid").text = str(uuid4())  # defining it again means the same domain
        SubElement(root, "memory", unit="MiB").text = "32"
        SubElement(SubElement(root, "os"), "type", arch="x86_64", machine="pc").text = "hvm"
        SubElement(SubElement(root, "features"), "acpi")  # without it nothing can be plugged in
        devices = SubElement(root, "devices")
        for target, form, size in sizes:
            devices.append(self.disk(target, form, size))
        cdrom = SubElement(devices, "disk", type="file", device="cdrom")
        SubElement(cdrom, "target", dev="sda", bus="sata")
        if extra is not None:
            extra(root)
        self.define(ElementTree.tostring(root, encoding="unicode"))

    def define(self, xml: str) -> None:
        """Define it from XML."""
        path = f"{self.folder}/domain.xml"
        self.shop.lab.on(self.shop.host, "sh", "-c", 'cat >"$1"', "sh", path, stdin=xml)
        self.shop.virsh("define", path)

    def disk(self, target: str, form: str, size: str) -> ElementTree.Element:
        """A new image and its element."""
        path = f"{self.folder}/{target}.{form}"
        self.shop.on("qemu-img", "create", "-q", "-f", form, path, size)
        self.disks[target] = path
        element = ElementTree.Element("disk", type="file", device="disk")
        SubElement(element, "driver", name="qemu", type=form, discard="unmap")
        SubElement(element, "source", file=path)
        SubElement(element, "target", dev=target, bus="virtio")
        return element

    def start(self) -> None:
        """Boot it (to nothing) and stop its CPU: only we write."""
        self.shop.virsh("start", self.name, "--paused")

    def write(self, target: str, *commands: str) -> None:
        """Write through the device (``write -P 0x5a 10M 1M``, ``write -z 1M 1M``, ``discard 3M 1M``) and flush: QEMU
        keeps the tables of qcow2 in memory."""
        device = self._device(target)
        for command in (*commands, "flush"):
            line = f'qemu-io -d {device} "{command}"'
            said = self.shop.virsh("qemu-monitor-command", self.name, "--hmp", line)
            assert "failed" not in said.lower() and "error" not in said.lower(), said

    def _device(self, target: str) -> str:
        xml = ElementTree.fromstring(self.shop.virsh("dumpxml", self.name))
        for disk in xml.findall("devices/disk"):
            found, alias = disk.find("target"), disk.find("alias")
            if found is not None and alias is not None and found.get("dev") == target:
                return f"/machine/peripheral/{alias.get('name')}/virtio-backend"
        raise AssertionError(f"there is no {target}")

    def digests(self) -> dict[str, str]:
        """What a raw copy of each disk has for a SHA-256 right now."""
        said = self.shop.on("sh", "-c", DIGESTS, "sh", *self.disks.values())
        return dict(zip(self.disks, said.split(), strict=True))

    def back_up(self, *options: str, status: int = 0) -> Any:
        """One run; its row."""
        return self.took(self.shop.run("backup", "run", f"{self.shop.host}/{self.name}", *options, status=status))

    def took(self, said: Any) -> Any:
        """The row of a run that has ended, its snapshot remembered with the disks as they are."""
        [row] = said["vms"]
        if row["snapshot"]:
            self.taken[row["snapshot"]] = self.digests()
        return row

    def verify(self) -> None:
        """Every snapshot taken so far is, bit by bit, what the disks were."""
        read = self.shop.run("backup", "verify", *self.taken)["snapshots"]
        found = {each["snapshot"]: {part["name"]: part["sha256"] for part in each["parts"]} for each in read}
        for snapshot, digests in self.taken.items():
            assert {name: found[snapshot][name] for name in digests} == digests, snapshot

    def left_over(self) -> str:
        """What a backup should have taken away again."""
        uuid = self.shop.virsh("domuuid", self.name).strip()
        units = self.shop.on("systemctl", "list-units", "--all", "--plain", "--no-legend", f"nf-*{uuid}*")
        files = self.shop.on("find", self.folder, f"/run/novafleet/backup/{uuid}", "-name", "*nf-*", check=False)
        return (units + files).strip()

    def checkpoints(self) -> list[str]:
        """By libvirt."""
        return self.shop.virsh("checkpoint-list", self.name, "--name").split()

    def kill_qemu(self) -> None:
        """As a power cut does."""
        pid = self.shop.on("cat", f"/run/libvirt/qemu/{self.name}.pid").strip()
        self.shop.on("kill", "-KILL", pid)
        until(lambda: self.shop.virsh("domstate", self.name).strip() == "shut off")

    def remove(self) -> None:
        """And everything of it."""
        self.shop.on(*QUIET, "destroy", self.name, check=False)
        self.shop.on(*QUIET, "undefine", self.name, "--checkpoints-metadata", "--nvram", check=False)
        self.shop.on("sh", "-c", 'umount "$1" 2>/dev/null; rm -rf "$1"', "sh", self.folder)


def modes(row: Any) -> dict[str, str]:
    """How each disk was read."""
    return {disk["target"]: disk["mode"] for disk in row["disks"]}


def kill(process: subprocess.Popen[bytes]) -> None:
    """As the kernel does when memory is out."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def reading(machine: Machine) -> bool:
    """Is it being backed up, with its guard watching?"""
    uuid = machine.shop.virsh("domuuid", machine.name).strip()
    return machine.shop.lab.answers(machine.shop.host, "systemctl", "-q", "is-active", f"nf-guard-{uuid}.service")


HOSTS = ("kvm1", pytest.param("kvm3", marks=pytest.mark.thorough))
"""libvirt 9.0 as root; libvirt 11 as a user who may sudo."""
TWO = (("vda", "qcow2", "64M"), ("vdb", "qcow2", "32M"))
SLOW = ("--bandwidth", "1M")


@pytest.fixture(params=HOSTS)
async def shop(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Shop:
    """A host and an empty repository."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    place = tmp_path / "repository"
    place.mkdir()
    store = open_store(str(place))
    await Repository.create(store, KeySource(key, ""), at=time.time())
    await store.close()
    return Shop(lab, request.param, fleet_home, key, place)


@pytest.fixture
def machine(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A VM named after the test."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40]
    made = Machine(shop, f"f-{name}")
    made.remove()
    yield made
    made.remove()
