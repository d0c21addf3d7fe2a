"""Disks of a VM, changed and copied behind NovaFleet's back: by QEMU's own block layer, at exact offsets."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.labfixture import Lab

ALIAS = "ua-disk-"
BACKEND = f"/machine/peripheral/{ALIAS}{{}}/virtio-backend"
IMAGES = "/var/lib/libvirt/images"


@dataclass(frozen=True, slots=True)
class Image:
    """The image on top of a disk, and its target in the domain."""

    target: str
    path: str
    format: str


@dataclass(frozen=True, slots=True)
class GuestDisks:
    """The disks of one domain on one host, by name."""

    lab: Lab
    host: str
    domain: str

    @property
    def running(self) -> bool:
        """Does QEMU run?"""
        return self.lab.on(self.host, "virsh", "domstate", self.domain).strip() == "running"

    def images(self) -> dict[str, Image]:
        """What the disks are now, by name: overlays and other people change it."""
        tree = ElementTree.fromstring(self.lab.on(self.host, "virsh", "dumpxml", self.domain))
        found = {}
        for disk in tree.iterfind("devices/disk[@device='disk']"):
            alias, source, driver, target = (disk.find(tag) for tag in ("alias", "source", "driver", "target"))
            if alias is not None and source is not None and driver is not None and target is not None:
                name = alias.get("name", "").removeprefix(ALIAS)
                found[name] = Image(target.get("dev", ""), source.get("file", ""), driver.get("type", ""))
        return found

    def sizes(self) -> dict[str, int]:
        """Bytes of each disk."""
        return {name: self._size(image) for name, image in self.images().items()}

    def _size(self, image: Image) -> int:
        words = ("qemu-img", "info", "-U", "--output=json", "-f", image.format, image.path)
        return int(json.loads(self.lab.on(self.host, *words))["virtual-size"])

    def io(self, name: str, *commands: str) -> None:
        """``qemu-io`` commands: inside the running QEMU, else on the image."""
        if self.running:
            for command in (*commands, "flush"):
                asked = f'qemu-io -d {BACKEND.format(name)} "{command}"'
                said = self.lab.on(self.host, "virsh", "qemu-monitor-command", self.domain, "--hmp", asked)
                assert "rror" not in said, said
        else:
            image = self.images()[name]
            words = [word for command in commands for word in ("-c", command)]
            said = self.lab.on(self.host, "qemu-io", "-f", image.format, *words, image.path)
            assert "failed" not in said, said

    def may(self, *argv: str) -> str:
        """Something that libvirt or QEMU may refuse for reasons of their own: what it said then, else nothing."""
        words = ("docker", "exec", self.lab.hosts[self.host].container, *argv)
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        return (done.stderr or done.stdout or f"ended with {done.returncode}").strip() if done.returncode else ""

    def grow(self, name: str, size: int) -> str:
        """Make it larger; why not, when it is refused."""
        image = self.images()[name]
        if self.running:
            return self.may("virsh", "blockresize", self.domain, image.target, f"{size}B")
        return self.may("qemu-img", "resize", "-f", image.format, image.path, str(size))

    def overlay(self, number: int) -> str:
        """An external snapshot of every qcow2 disk: from here on QEMU writes into new files."""
        # An offline one of a raw disk is libvirt's to refuse on older hosts.
        raw = [image.target for image in self.images().values() if image.format == "raw"]
        words = [word for target in raw for word in ("--diskspec", f"{target},snapshot=no")]
        kind = ("--disk-only", "--no-metadata", "--atomic")
        return self.may("virsh", "snapshot-create-as", self.domain, f"s{number}", *kind, *words)

    def merge(self, name: str) -> str:
        """All overlays of a running VM's disk go down into the image they began with."""
        return self.may("virsh", "blockcommit", self.domain, self.images()[name].target, "--active", "--pivot")

    def add(self, name: str, target: str, size: int, form: str) -> None:
        """A new disk, hot where the VM runs, and in its definition."""
        path = f"{IMAGES}/{self.domain.replace('-', '.')}.{name}.{size}.{form}"
        self.lab.on(self.host, "qemu-img", "create", "-q", "-f", form, path, str(size))
        words = ("--driver", "qemu", "--subdriver", form, "--targetbus", "virtio", "--alias", f"{ALIAS}{name}")
        live = ("--live",) if self.running else ()
        self.lab.on(self.host, "virsh", "attach-disk", self.domain, path, target, *words, "--config", *live)

    def remove(self, name: str) -> None:
        """A disk of a VM that is off goes, with its image."""
        image = self.images()[name]
        self.lab.on(self.host, "virsh", "detach-disk", self.domain, image.target, "--config")
        self.lab.on(self.host, "rm", image.path)

    def keep(self, name: str, inside: str) -> str:
        """An internal snapshot of a qcow2 disk of a VM that is off."""
        return self.may("qemu-img", "snapshot", "-c", inside, self.images()[name].path)

    def back(self, name: str, inside: str) -> str:
        """The disk as it was in an internal snapshot. QEMU refuses that for an image with bitmaps: who knows removes
        them first."""
        path = self.images()[name].path
        refused = self.may("qemu-img", "snapshot", "-a", inside, path)
        if refused:
            for bitmap in self.bitmaps(path):
                self.lab.on(self.host, "qemu-img", "bitmap", "--remove", "-f", "qcow2", path, bitmap)
            self.lab.on(self.host, "qemu-img", "snapshot", "-a", inside, path)
        return refused

    def bitmaps(self, path: str) -> list[str]:
        """The names of those an image holds."""
        said = json.loads(self.lab.on(self.host, "qemu-img", "info", "-U", "--output=json", "-f", "qcow2", path))
        return [each["name"] for each in said["format-specific"]["data"].get("bitmaps", ())]

    def copy(self, name: str, to: Path) -> Path:
        """What a guest would read now, as a raw file here, made by qemu-img."""
        there, image = f"/tmp/{self.domain}-{name}.copy", self.images()[name]
        self.lab.on(self.host, "qemu-img", "convert", "-U", "-f", image.format, "-O", "raw", image.path, there)
        with to.open("wb") as out:
            argv = ["docker", "exec", self.lab.hosts[self.host].container, "cat", there]
            subprocess.run(argv, stdout=out, check=True, timeout=120)
        self.lab.on(self.host, "rm", there)
        return to

    def unread(self) -> bool:
        """No image is exported, by a backup of a VM that is off."""
        uuid = self.lab.on(self.host, "virsh", "domuuid", self.domain).strip()
        return bool(self.may("systemctl", "-q", "is-active", f"nf-read-{uuid}-*"))

    def kill(self) -> None:
        """kill -9 of QEMU."""
        pid = f"/run/libvirt/qemu/{self.domain}.pid"
        self.lab.on(self.host, "sh", "-c", 'kill -9 "$(cat "$1")"', "kill", pid)
        wait = 'timeout 30 sh -c \'until virsh domstate "$1" | grep -q shut; do :; done\' _ "$1"'
        self.lab.on(self.host, "sh", "-c", wait, "wait", self.domain)

    def kill_libvirtd(self) -> None:
        """kill -9 of libvirtd; returns once the next one answers."""
        self.lab.on(self.host, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", "libvirtd.service")
        wait = 'timeout 60 sh -c \'until virsh domstate "$1" >/dev/null 2>&1; do sleep 0.2; done\' _ "$1"'
        self.lab.on(self.host, "sh", "-c", wait, "wait", self.domain)

    def power(self, on: bool) -> None:
        """Start or stop; the guest writes nothing by itself."""
        self.lab.on(self.host, "virsh", "start" if on else "destroy", self.domain, *([] if on else ["--graceful"]))
