"""VMs on the lab's first host for the backup benchmark: the same disk for every program, written through the device."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

from tests.bench import backupdisk
from tests.bench.peers import HOSTS, LAB

HOST = "kvm1"
ADDRESS = HOSTS[HOST]
POOL = "/var/lib/libvirt/images"
FOLDER = f"{POOL}/nf-bench"
LOGS = "/var/log/libvirt/qemu"
VIRSH = "virsh -q -c qemu:///system"
DEVICE = "/machine/peripheral/virtio-disk0/virtio-backend"
DROP = f"""\
for name; do
  {VIRSH} destroy "$name"; {VIRSH} undefine "$name" --checkpoints-metadata --nvram
  rm -rf "{FOLDER}/$name".* "{POOL}/$name".* "{POOL}/$name"-* "{POOL}/.nf-restore-$name"* \\
    "{LOGS}/$name.log" "{LOGS}/$name-serial.log"
done >/dev/null 2>&1; true
"""
RANDOM = """\
mkdir -p "$1"
for number in $(seq "$2"); do head -c 65536 /dev/urandom >"$1/$number"; done
chmod -R a+rX "$1"
"""


@dataclass(frozen=True)
class Bench:
    """The host, past NovaFleet; ``variables`` are those of ``peers.reaching``."""

    variables: Mapping[str, str]

    def on(self, script: str, *words: str, stdin: bytes | None = None) -> str:
        """A script on the host; its output. Raises RuntimeError with its complaint."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in ("sh", "-c", script, "sh", *words))
        argv = ("ssh", f"root@{ADDRESS}", quoted)
        done = subprocess.run(argv, env=self.variables, input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{script[:60]}: {done.stderr.decode()[-500:]}")
        return done.stdout.decode()

    def put(self, image: Path) -> None:
        """Lay the disk down once, as qcow2."""
        packed = image.with_suffix(".qcow2")
        subprocess.run(("qemu-img", "convert", "-O", "qcow2", image, packed), check=True, capture_output=True)
        self.on('mkdir -p "$1"', FOLDER)
        with packed.open("rb") as file:
            argv = ("ssh", f"root@{ADDRESS}", f"cat >{FOLDER}/image")
            subprocess.run(argv, env=self.variables, stdin=file, check=True)
        packed.unlink()

    def make(self, name: str) -> None:
        """A VM with a copy of that disk, started and stopped before its first instruction: only we write."""
        disk = f"{FOLDER}/{name}.qcow2"
        self.on('cp "$1/image" "$2"', FOLDER, disk)
        self.on(f"cat >/tmp/{name}.xml && {VIRSH} define /tmp/{name}.xml", stdin=_definition(name, disk))
        self.on(f'{VIRSH} start "$1" --paused', name)

    def dirty(self, name: str) -> None:
        """New random content in 1 % of its disk."""
        folder = f"{FOLDER}/random"
        self.on(RANDOM, folder, str(backupdisk.DIRTY))
        lines = [
            f"qemu-monitor-command {name} --hmp 'qemu-io -d {DEVICE} \"write -s {folder}/{number} {place} 65536\"'\n"
            for number, place in enumerate(backupdisk.places(), 1)
        ]
        said = self.on(VIRSH, stdin="".join([*lines, "quit\n"]).encode()).lower()
        if "failed" in said or "error" in said:
            raise RuntimeError(f"writing to {name}: {said[-500:]}")

    def booted(self, name: str) -> bool:
        """Has its guest spoken?"""
        return "mini: init" in self.on('cat "$1" 2>/dev/null || true', _log(name))

    def remove(self, *names: str) -> None:
        """VMs and their disks."""
        self.on(DROP, *names)

    def clean(self) -> None:
        """The disk that was copied, too."""
        self.on('rm -rf "$1"', FOLDER)


def _definition(name: str, disk: str) -> bytes:
    root = ElementTree.Element("domain", type="qemu")
    SubElement(root, "name").text = name
    SubElement(root, "memory", unit="MiB").text = "160"
    SubElement(SubElement(root, "os"), "type", arch="x86_64", machine="pc").text = "hvm"
    SubElement(SubElement(root, "features"), "acpi")
    devices = SubElement(root, "devices")
    element = SubElement(devices, "disk", type="file", device="disk")
    SubElement(element, "driver", name="qemu", type="qcow2", discard="unmap")
    SubElement(element, "source", file=disk)
    SubElement(element, "target", dev="vda", bus="virtio")
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=_log(name), append="off")
    SubElement(serial, "target", port="0")
    return ElementTree.tostring(root)


def _log(name: str) -> str:
    return f"{LOGS}/{name}-serial.log"


NAMES = f"""\
import socket
asked = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: asked("{ADDRESS}" if host == "{HOST}" else host, *rest, **more)
"""
"""virtnbdbackup connects to the name that the host has for itself, which no DNS here knows: ``sitecustomize``."""


def virtnbd(variables: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Words that lead virtnbdbackup and virtnbdrestore to the host (libvirt by ssh, NBD by TCP), and an environment in
    which they find it: paramiko takes its key from ``~/.ssh``. ``variables`` are those of ``peers.reaching``."""
    home = Path(variables["HOME"])
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder / "id_ed25519"
    key.write_bytes(LAB.key.read_bytes())
    key.chmod(0o600)
    names = home / "names"
    names.mkdir(exist_ok=True)
    (names / "sitecustomize.py").write_text(NAMES)
    uri = f"qemu+ssh://root@{ADDRESS}/system?keyfile={key}&no_tty=1&command={home}/peers/ssh"
    return ("-n", "-U", uri, "--ssh-user", "root", "-I", ADDRESS), {**variables, "PYTHONPATH": str(names)}
