"""Disks of a VM, changed and copied behind NovaFleet's back: by QEMU's own block layer, at exact offsets."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.labfixture import Lab

BACKEND = "/machine/peripheral/ua-disk-{}/virtio-backend"


@dataclass(frozen=True, slots=True)
class GuestDisks:
    """The disks of one domain on one host, by name."""

    lab: Lab
    host: str
    domain: str
    targets: dict[str, str]

    @property
    def running(self) -> bool:
        """Does QEMU run?"""
        return self.lab.on(self.host, "virsh", "domstate", self.domain).strip() == "running"

    def path(self, name: str) -> str:
        """The image on top: overlays change it."""
        listed = self.lab.on(self.host, "virsh", "-q", "domblklist", self.domain).splitlines()
        return next(line.split()[1] for line in listed if line.split()[0] == self.targets[name])

    def format(self, name: str) -> str:
        """raw or qcow2."""
        return "raw" if self.path(name).endswith(".raw") else "qcow2"

    def io(self, name: str, *commands: str) -> None:
        """``qemu-io`` commands: inside the running QEMU, else on the image."""
        if self.running:
            for command in (*commands, "flush"):
                asked = f'qemu-io -d {BACKEND.format(name)} "{command}"'
                said = self.lab.on(self.host, "virsh", "qemu-monitor-command", self.domain, "--hmp", asked)
                assert "rror" not in said, said
        else:
            words = [word for command in commands for word in ("-c", command)]
            said = self.lab.on(self.host, "qemu-io", "-f", self.format(name), *words, self.path(name))
            assert "failed" not in said, said

    def grow(self, name: str, size: int) -> None:
        """Make it larger."""
        if self.running:
            self.lab.on(self.host, "virsh", "blockresize", self.domain, self.targets[name], f"{size}B")
        else:
            self.lab.on(self.host, "qemu-img", "resize", "-f", self.format(name), self.path(name), str(size))

    def overlay(self, number: int) -> None:
        """An external snapshot of every disk: from here on QEMU writes into new files."""
        # An offline one of a raw disk is libvirt's to refuse on older hosts: the qcow2 disk alone, then.
        spec = [f"{self.targets['raw']},snapshot=no"] if "raw" in self.targets else []
        words = [word for each in spec for word in ("--diskspec", each)]
        self.lab.on(
            self.host, "virsh", "snapshot-create-as", self.domain, f"s{number}", "--disk-only", "--no-metadata", *words
        )

    def copy(self, name: str, to: Path) -> Path:
        """What a guest would read now, as a raw file here, made by qemu-img."""
        there = f"/tmp/{self.domain}-{name}.copy"
        self.lab.on(
            self.host, "qemu-img", "convert", "-U", "-f", self.format(name), "-O", "raw", self.path(name), there
        )
        with to.open("wb") as out:
            argv = ["docker", "exec", self.lab.hosts[self.host].container, "cat", there]
            subprocess.run(argv, stdout=out, check=True, timeout=120)
        self.lab.on(self.host, "rm", there)
        return to

    def kill(self) -> None:
        """kill -9 of QEMU."""
        pid = f"/run/libvirt/qemu/{self.domain}.pid"
        self.lab.on(self.host, "sh", "-c", 'kill -9 "$(cat "$1")"', "kill", pid)
        wait = 'timeout 30 sh -c \'until virsh domstate "$1" | grep -q shut; do :; done\' _ "$1"'
        self.lab.on(self.host, "sh", "-c", wait, "wait", self.domain)

    def power(self, on: bool) -> None:
        """Start or stop; the guest writes nothing by itself."""
        self.lab.on(self.host, "virsh", "start" if on else "destroy", self.domain, *([] if on else ["--graceful"]))
