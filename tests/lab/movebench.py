"""A VM that counts: a guest that writes each number to its disk, waits until it is durable, and only then says it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import yaml

from novafleet.capability.migration.ends import Ends
from novafleet.model.migration import Mode, Move, MoveDisk, MoveFile, Path, Phase
from novafleet.render.iso9660 import iso9660
from tests.lab.slices import Bench, bench
from tests.labfixture import Lab

POOL = "/var/lib/libvirt/images"
SHARED = "/srv/shared"
"""All hosts' own: one folder."""
VIRSH = "virsh", "-q", "-c", "qemu:///system"
COUNT = """\
disk=/dev/vdb
at=$(dd if=$disk bs=512 count=1 2>/dev/null | tr -dc 0-9)
i=$((${at:-0} + 0))
echo "mc: goes on at $i" >/dev/console
while :; do
  i=$((i + 1))
  printf '%-512s' "$i" | dd of=$disk bs=512 seek=$((i % 4096 + 1)) conv=notrunc,fsync 2>/dev/null
  printf '%-512s' "$i" | dd of=$disk bs=512 conv=notrunc,fsync 2>/dev/null
  echo "mc: count $i" >/dev/console
  usleep 20000
done
"""
MAKE = """\
folder=$1 name=$2 base=$3
qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$folder/$name.vda.qcow2" 96M
qemu-img create -q -f raw "$folder/$name.vdb.raw" 24M
qemu-img create -q -f qcow2 "$folder/$name.vdc.qcow2" "$4"
head -c 20M /dev/urandom >"$folder/$name.noise"
qemu-io -f qcow2 -c "write -s $folder/$name.noise 3M 20M" -c 'write -P 5 100M 1M' "$folder/$name.vdc.qcow2" >/dev/null
qemu-io -f qcow2 -c 'write -P 9 1M 2M' "$folder/$name.vda.qcow2" >/dev/null
rm "$folder/$name.noise"
"""
FETCH = '[ -e "$2" ] || { curl -sf -o "$2.mc" "$1" && mv "$2.mc" "$2" && echo "$3" >"$2.sha256"; }'
DIGEST = """\
copy=$(mktemp -p /var/tmp)
qemu-img convert -U -O raw "$1" "$copy" && sha256sum <"$copy" | cut -d' ' -f1
rm -f "$copy"
"""
LEFT = """\
[ -z "$3" ] || systemctl list-units --all --plain --no-legend "nf-migrate-$3-*"
[ -z "$3" ] || ls -d "/run/novafleet/carry/$3" 2>/dev/null
grep -lF " $2" /var/lib/novafleet/migrate/*/manifest 2>/dev/null
ls -A "$1" | grep "^[.]nf-migrate-.*$2"
for image in "$1/$2".*.qcow2; do [ ! -e "$image" ] || qemu-img info -U "$image" | grep 'name: nf-migrate'; done
virsh -q -c qemu:///system checkpoint-list "$2" --name 2>/dev/null
exit 0
"""
CLEAN = """\
cd "$1" && rm -rf "$2".*
for each in /var/lib/novafleet/migrate/*; do
  ! grep -qF " $2" "$each/manifest" 2>/dev/null || rm -rf "$each" "$1/.nf-migrate-${each##*/}-"*
done
for each in /var/lib/novafleet/quarantine/*; do
  ! grep -qF "\\"$2\\"" "$each/record.json" 2>/dev/null || rm -rf "$each" "$1/.novafleet-quarantine/${each##*/}"
done
exit 0
"""


def images(lab: Lab) -> Mapping[str, Mapping[str, Any]]:
    """The lab's own."""
    known: Mapping[str, Mapping[str, Any]] = yaml.safe_load(lab.images.read_text())["images"]
    return known


@dataclass
class Traveller:
    """The VM ``name``; where it is at a time is an argument."""

    lab: Lab
    name: str
    size: str = "256M"
    pause: int = 20_000
    """Microseconds between two numbers."""

    @property
    def disks(self) -> Mapping[str, str]:
        """Where its disks are."""
        kinds = {"vda": "qcow2", "vdb": "raw", "vdc": "qcow2"}
        return {target: f"{POOL}/{self.name}.{target}.{kind}" for target, kind in kinds.items()}

    def image(self, role: str) -> tuple[str, str, str]:
        """(URL, path on every host, sha256) of base image, kernel or initrd."""
        known = images(self.lab)
        found = known["mini-disk"] if role == "base" else known["mini"][role]
        return found["url"], f"{POOL}/novafleet-image-{found['sha256']}", found["sha256"]

    def create(self, host: str) -> None:
        """Make and define it."""
        for role in ("base", "kernel", "initrd"):
            self.lab.on(host, "sh", "-c", FETCH, "sh", *self.image(role))
        self.lab.on(host, "sh", "-c", MAKE, "sh", POOL, self.name, self.image("base")[1], self.size)
        seed = iso9660("cidata", {"meta-data": b"instance-id: mc\n", "user-data": self._user_data()})
        self._put(host, f"{POOL}/{self.name}.seed.iso", seed)
        self._put(host, f"/tmp/{self.name}.xml", ElementTree.tostring(self._xml()))
        self.lab.on(host, *VIRSH, "define", f"/tmp/{self.name}.xml")

    def _put(self, host: str, path: str, content: bytes) -> None:
        text = content.hex()
        self.lab.on(
            host,
            "sh",
            "-c",
            'xxd -r -p >"$1" 2>/dev/null || perl -pe \'chomp;$_=pack("H*",$_)\' >"$1"',
            "sh",
            path,
            stdin=text,
        )

    def _user_data(self) -> bytes:
        content = COUNT.replace("20000", str(self.pause))
        files = [{"path": "/run/count", "content": content, "permissions": "0755"}]
        command = ["sh", "-c", "setsid sh /run/count >/dev/null 2>&1 &"]
        return b"#cloud-config\n" + yaml.safe_dump({"write_files": files, "runcmd": [command]}).encode()

    def _xml(self) -> Element:
        root = Element("domain", type="qemu")
        SubElement(root, "name").text = self.name
        SubElement(root, "memory", unit="MiB").text = "128"
        system = SubElement(root, "os")
        SubElement(system, "type", arch="x86_64", machine="pc").text = "hvm"
        SubElement(system, "kernel").text = self.image("kernel")[1]
        SubElement(system, "initrd").text = self.image("initrd")[1]
        SubElement(system, "cmdline").text = "console=ttyS0 quiet"
        SubElement(SubElement(root, "features"), "acpi")
        devices = SubElement(root, "devices")
        for target, path in {**self.disks, "vdz": f"{POOL}/{self.name}.seed.iso"}.items():
            disk = SubElement(devices, "disk", type="file", device="disk")
            SubElement(disk, "driver", name="qemu", type=path.rpartition(".")[2].replace("iso", "raw"))
            SubElement(disk, "source", file=path)
            SubElement(disk, "target", dev=target, bus="virtio")
            if target == "vdz":
                SubElement(disk, "readonly")
        serial = SubElement(devices, "serial", type="pty")
        SubElement(serial, "log", file=self.log, append="off")
        SubElement(serial, "target", port="0")
        return root

    @property
    def log(self) -> str:
        """Its serial console on any host."""
        return f"/var/log/libvirt/qemu/{self.name}-serial.log"

    def start(self, host: str) -> None:
        """Boot it and wait until it counts."""
        self.lab.on(host, *VIRSH, "start", self.name)
        self.counts(host)

    def counts(self, host: str, beyond: int = 0, seconds: float = 120.0) -> int:
        """The last number it said there, waiting for one beyond ``beyond``."""
        deadline = time.monotonic() + seconds
        while True:
            said = re.findall(r"mc: count (\d+)", self.lab.on(host, "cat", self.log, check=False))
            if said and int(said[-1]) > beyond:
                return int(said[-1])
            assert time.monotonic() < deadline, self.lab.on(host, "tail", "-n", "5", self.log, check=False)
            time.sleep(0.1)

    def said(self, host: str) -> int:
        """The last number it said there."""
        return int(re.findall(r"mc: count (\d+)", self.lab.on(host, "cat", self.log))[-1])

    def went_on_at(self, host: str) -> int:
        """The number it found on its disk when it booted there."""
        return int(re.findall(r"mc: goes on at (\d+)", self.lab.on(host, "cat", self.log))[-1])

    def digests(self, host: str) -> dict[str, str]:
        """What its disks hold on a host."""
        return {each: self.lab.on(host, "sh", "-c", DIGEST, "sh", path).strip() for each, path in self.disks.items()}

    def allocated(self, host: str, target: str) -> int:
        """Bytes a disk's file occupies."""
        return int(self.lab.on(host, "stat", "-c", "%b", self.disks[target]).strip()) * 512

    def left_over(self, job: str, *hosts: str) -> str:
        """What a job should have taken away again: units, sockets, scratch, manifests, part files, bitmaps."""
        return "".join(self.lab.on(host, "sh", "-c", LEFT, "sh", POOL, self.name, job) for host in hosts).strip()

    def state(self, host: str) -> str:
        """What libvirt says there; empty when it knows nothing of it."""
        return self.lab.on(host, *VIRSH, "domstate", self.name, check=False).strip()

    def remove(self, host: str) -> None:
        """And everything of it."""
        self.lab.on(host, *VIRSH, "destroy", self.name, check=False)
        self.lab.on(host, *VIRSH, "undefine", self.name, "--checkpoints-metadata", "--snapshots-metadata", check=False)
        self.lab.on(host, "sh", "-c", CLEAN, "sh", POOL, self.name)

    def move(self, source: str, destination: str, mode: Mode, *, running: bool) -> Move:
        """As a dossier would decide it."""
        xml = self.lab.on(source, *VIRSH, "dumpxml", "--inactive", self.name)
        uuid = ElementTree.fromstring(xml).findtext("uuid", "")
        sizes = {"vda": 96 << 20, "vdb": 24 << 20, "vdc": 256 << 20}
        base = self.image("base")[1]
        disks = tuple(
            MoveDisk(
                target=target,
                source=path,
                path=path,
                format=path.rpartition(".")[2],
                size=sizes[target],
                allocated=0,
                backing=base if target == "vda" else "",
                backing_format="qcow2" if target == "vda" else "",
                chain=(path, base) if target == "vda" else (path,),
            )
            for target, path in self.disks.items()
        )
        seed = f"{POOL}/{self.name}.seed.iso"
        files = [MoveFile("cdrom", seed, seed, 0)]
        for role, kind in (("base", "image"), ("kernel", "kernel"), ("initrd", "initrd")):
            _, path, sha256 = self.image(role)
            there = self.lab.answers(destination, "test", "-e", path)
            files.append(MoveFile("image" if kind != "image" else kind, path, path, 0, sha256, present=there))
        return Move(
            job=secrets.token_hex(4),
            vm=self.name,
            domain=self.name,
            uuid=uuid,
            environment="",
            source=source,
            destination=destination,
            running=running,
            ladder=(mode,),
            path=Path.RELAY,
            xml=xml,
            disks=disks,
            files=tuple(files),
        )


class Pinned(Traveller):
    """Of a machine type that every QEMU here has: a guest made on 10.0 could not go to 7.2. Its kernel does not measure
    the timer, which an emulated guest fails at on a busy machine."""

    def _xml(self) -> Element:
        root = super()._xml()
        found, words = root.find("os/type"), root.find("os/cmdline")
        assert found is not None
        assert words is not None
        found.set("machine", "pc-i440fx-7.2")
        words.text = f"{words.text} no_timer_check"
        return root

    def start(self, host: str) -> None:
        self.lab.on(host, *VIRSH, "start", self.name)
        self.counts(host, seconds=300)


class OnShared(Pinned):
    """Its disks are on what all hosts share."""

    folder = POOL

    @property
    def disks(self) -> dict[str, str]:
        return {target: path.replace(POOL, self.folder) for target, path in super().disks.items()}

    def create(self, host: str) -> None:
        self.folder = POOL
        super().create(host)
        self.lab.on(host, "sh", "-c", 'mv "$1/$3".vd* "$2"', "sh", POOL, SHARED, self.name)
        self.folder = SHARED
        self._put(host, f"/tmp/{self.name}.xml", ElementTree.tostring(self._xml()))
        self.lab.on(host, *VIRSH, "undefine", self.name)
        self.lab.on(host, *VIRSH, "define", f"/tmp/{self.name}.xml")

    def remove(self, host: str) -> None:
        super().remove(host)
        self.lab.on(host, "sh", "-c", 'rm -f "$1/$2".*', "sh", SHARED, self.name)


@dataclass
class Road:
    """Two hosts, connected."""

    source: Bench
    destination: Bench
    phases: list[Phase] = field(default_factory=list)
    told: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def ends(self) -> Ends:
        """As the copies take them."""
        return Ends(self.source, self.destination, self._note, lambda *said: self.told.append(said))

    def back(self) -> Road:
        """The other way."""
        return replace(self, source=self.destination, destination=self.source, phases=[], told=[])

    async def _note(self, phase: Phase, _values: Mapping[str, Any]) -> None:
        self.phases.append(phase)


@asynccontextmanager
async def road(source: str, destination: str) -> AsyncIterator[Road]:
    """Connections to both."""
    async with AsyncExitStack() as stack:
        yield Road(await stack.enter_async_context(bench(source)), await stack.enter_async_context(bench(destination)))
