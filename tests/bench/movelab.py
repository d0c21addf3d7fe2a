"""Two of the lab's hosts for the migration benchmark, and VMs that go between them: made and removed past NovaFleet.

Both run the same QEMU and let root in, so that either direction is as good as the other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import yaml

from novafleet.render.iso9660 import iso9660
from tests.bench.peers import HOSTS, LAB

A, B = "kvm2", "kvm3"
NAME = "nf-bench-move"
POOL = "/var/lib/libvirt/images"
FOLDER = f"{POOL}/{NAME}"
"""On both hosts: what guests boot from, a key between the hosts, the image of a cold copy."""
VIRSH = "virsh -q -c qemu:///system"
MIB = 1 << 20
TIMEOUT = 600.0
SSH = """\
#!/bin/sh
exec /usr/bin/ssh -F none -i {folder}/key -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts "$@"
"""
PREPARE = f"""\
umask 022
mkdir -p "$1" && cd "$1"
curl -sf -o kernel "$2" && curl -sf -o initrd "$3"
{VIRSH} pool-info default >/dev/null 2>&1 || {VIRSH} pool-create-as default dir --target "${{1%/*}}"
"""
PUT = 'cat >"$1" && chmod "$2" "$1"'
TRUST = f'cd /root/.ssh && cat >>authorized_keys && grep -q "{NAME}$" authorized_keys'
CLEAN = f"""\
for domain in $({VIRSH} list --all --name | grep '^{NAME}-'); do
  {VIRSH} destroy "$domain"; {VIRSH} undefine "$domain" --checkpoints-metadata --snapshots-metadata
done
for each in /var/lib/novafleet/migrate/* /var/lib/novafleet/quarantine/*; do
  grep -qsF '{NAME}-' "$each/manifest" "$each/record.json" || continue
  rm -rf "$each" "{POOL}/.nf-migrate-${{each##*/}}-"* "{POOL}/.novafleet-quarantine/${{each##*/}}"
done
rm -rf "{POOL}/{NAME}"-* "{FOLDER}" /var/log/libvirt/qemu/{NAME}-*
sed -i '/ {NAME}$/d' /root/.ssh/authorized_keys
! grep -qsF '{NAME}' /var/lib/novafleet/maintenance || rm -f /var/lib/novafleet/maintenance
{VIRSH} pool-refresh default
exit 0
"""
LEFT = f"""\
for name; do
  ! {VIRSH} domstate "$name" >/dev/null 2>&1 || continue
  rm -f "{POOL}/$name".*
  for each in $(grep -lsF "\\"$name\\"" /var/lib/novafleet/quarantine/*/record.json); do
    each=${{each%/*}}
    rm -rf "$each" "{POOL}/.novafleet-quarantine/${{each##*/}}"
  done
done
{VIRSH} pool-refresh default
"""
DISK = """\
data=$1.data
head -c "$3" /dev/urandom >"$data" && seq 1 99999999 | head -c "$3" >>"$data"
qemu-img create -q -f "$5" "$1" "$2" &&
  qemu-io -f "$5" -c "write -s $4/boot 0 1M" -c "write -s $data 1M $((2 * $3))" "$1" >/dev/null
status=$?
rm -f "$data" && exit "$status"
"""
COPIES = 'first=$1 && shift && for copy; do cp "$first" "$copy" || exit; done'
HALT = bytes((0xFA, 0xF4, 0xEB, 0xFD)).ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)
"""A boot sector of `cli; hlt; jmp` back to the halt: a guest that runs and takes no processor time."""
BUSY = """\
head -c 8388608 /dev/urandom >/run/noise
while :; do
  cp /run/noise /run/written
  dd if=/run/noise of=/dev/vda bs=64k count=16 seek=$((4096 + i % 16 * 16)) conv=notrunc,fsync 2>/dev/null
  i=$((i + 1))
  usleep 200000
done
"""
"""Dirties 8 MiB of memory (and the disk's cache), and a MiB of the disk, some times a second."""


@dataclass(frozen=True)
class Vm:
    """``data`` MiB of the disk's ``size`` hold something, half of it random. ``boots`` a Linux that is ``busy`` or
    idle; else its processor is halted."""

    name: str
    size: int
    data: int
    memory: int = 128
    boots: bool = False
    busy: bool = False
    form: str = "qcow2"

    @property
    def disk(self) -> str:
        """On either host."""
        return f"{POOL}/{self.name}.{self.form}"

    @property
    def log(self) -> str:
        """Its serial console."""
        return f"/var/log/libvirt/qemu/{self.name}-serial.log"

    @property
    def seed(self) -> bytes:
        """What cloud-init starts in it."""
        files = [{"path": "/run/busy", "content": BUSY}]
        command = ["sh", "-c", "setsid sh /run/busy >/dev/null 2>&1 &"]
        data = {"write_files": files, "runcmd": [command]} if self.busy else {}
        return iso9660("cidata", {"meta-data": b"instance-id: bench\n", "user-data": b"#cloud-config\n" + _yaml(data)})

    @property
    def definition(self) -> bytes:
        """libvirt's."""
        root = ElementTree.Element("domain", type="qemu")
        SubElement(root, "name").text = self.name
        SubElement(root, "memory", unit="MiB").text = str(self.memory)
        system = SubElement(root, "os")
        SubElement(system, "type", arch="x86_64", machine="pc").text = "hvm"
        disks = {"vda": self.disk}
        if self.boots:
            SubElement(system, "kernel").text = f"{FOLDER}/kernel"
            SubElement(system, "initrd").text = f"{FOLDER}/initrd"
            SubElement(system, "cmdline").text = "console=ttyS0 quiet no_timer_check"
            disks["vdb"] = f"{FOLDER}/{self.name}.iso"
        SubElement(SubElement(root, "features"), "acpi")
        devices = SubElement(root, "devices")
        for target, path in disks.items():
            disk = SubElement(devices, "disk", type="file", device="disk")
            SubElement(disk, "driver", name="qemu", type=self.form if target == "vda" else "raw")
            SubElement(disk, "source", file=path)
            SubElement(disk, "target", dev=target, bus="virtio")
            if target == "vdb":
                SubElement(disk, "readonly")
        serial = SubElement(devices, "serial", type="pty")
        SubElement(serial, "log", file=self.log, append="off")
        SubElement(serial, "target", port="0")
        return ElementTree.tostring(root)


def _yaml(data: Mapping[str, object]) -> bytes:
    return yaml.safe_dump(data).encode()


@dataclass(frozen=True)
class Pair:
    """Both hosts, past NovaFleet; ``variables`` are those of ``peers.reaching``."""

    variables: Mapping[str, str]

    def on(self, host: str, script: str, *words: str, stdin: bytes = b"") -> str:
        """A script on a host; its output. Raises RuntimeError with its complaint."""
        argv = self.argv(host, script, *words)
        done = subprocess.run(argv, env=self.variables, input=stdin, capture_output=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"{host}: {script[:60]}: {(done.stderr or done.stdout).decode()[-500:]}")
        return done.stdout.decode()

    @staticmethod
    def argv(host: str, script: str, *words: str) -> tuple[str, ...]:
        """What runs a script on a host."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in ("sh", "-c", script, "sh", *words))
        return ("ssh", f"root@{HOSTS[host]}", quoted)

    def prepare(self, home: Path) -> None:
        """What guests boot from, and a key of this benchmark alone that lets each host's root into the other."""
        images = yaml.safe_load(LAB.images_file.read_text())["images"]["mini"]
        key = home / "between"
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", key), check=True)
        files = {"key": key.read_bytes(), "known_hosts": LAB.known_hosts.read_bytes(), "boot": HALT}
        for host in (A, B):
            self.on(host, PREPARE, FOLDER, images["kernel"]["url"], images["initrd"]["url"])
            for name, content in {**files, "ssh": SSH.format(folder=FOLDER).encode()}.items():
                self.put(host, f"{FOLDER}/{name}", content, "700" if name == "ssh" else "600")
            self.on(host, TRUST, stdin=key.with_suffix(".pub").read_bytes())

    def put(self, host: str, path: str, content: bytes, mode: str = "644") -> None:
        """A file."""
        self.on(host, PUT, path, mode, stdin=content)

    def make(self, host: str, *vms: Vm) -> None:
        """VMs that are alike but for their names, off; the disk is written once."""
        first = vms[0]
        words = (first.disk, f"{first.size}M", str(first.data * MIB // 2), FOLDER, first.form)
        self.on(host, DISK, *words)
        self.on(host, COPIES, *(vm.disk for vm in vms))
        for vm in vms:
            for each in (A, B) if vm.boots else ():
                self.put(each, f"{FOLDER}/{vm.name}.iso", vm.seed)
            self.on(host, f"{VIRSH} define /dev/stdin", stdin=vm.definition)

    def start(self, host: str, *vms: Vm) -> None:
        """Boot them."""
        self.on(host, f'for name; do {VIRSH} start "$name" || exit; done', *(vm.name for vm in vms))

    def said(self, host: str, vm: Vm) -> str:
        """Its console."""
        return self.on(host, 'cat "$1" 2>/dev/null || true', vm.log)

    def downtime(self, host: str, vm: Vm) -> float:
        """Milliseconds of the migration that brought it there, as libvirt counted them."""
        told = self.on(host, f'{VIRSH} domjobinfo "$1" --completed', vm.name)
        [line] = [line for line in told.splitlines() if line.startswith("Total downtime:")]
        return float(line.split()[2])

    def state(self, host: str, vm: Vm) -> str:
        """What libvirt says there; empty when it knows nothing of it."""
        return self.on(host, f'{VIRSH} domstate "$1" 2>/dev/null || true', vm.name).strip()

    def left(self, host: str, *vms: Vm) -> None:
        """Delete what VMs that are not there any more left behind: a disk, or what NovaFleet keeps in quarantine."""
        self.on(host, LEFT, *(vm.name for vm in vms))

    def remove(self, host: str, vm: Vm) -> None:
        """Off, and gone with all it had."""
        self.on(host, f'{{ {VIRSH} destroy "$1"; {VIRSH} undefine "$1"; }} >/dev/null 2>&1; true', vm.name)
        self.left(host, vm)

    def clean(self, hosts: Sequence[str] = (A, B)) -> None:
        """Everything of this benchmark, on both hosts."""
        for host in hosts:
            self.on(host, CLEAN)
