"""A mini guest with a qcow2 and a raw disk on a lab host, and NovaFleet's command line beside it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from tests.labfixture import ROOT, Lab, fleet_environment

SETUP = """
virsh -q destroy "$1"; virsh -q undefine "$1" --snapshots-metadata; rm -rf "$2"
install -d -o libvirt-qemu -m 0755 "$2" && cd "$2" || exit
curl -sf -o vmlinuz "$3" && curl -sf -o initrd.img "$4" && qemu-img create -q -f qcow2 vda.qcow2 64M || exit
qemu-img create -q -f raw vdb.img 32M && cat >domain.xml && virsh -q define domain.xml
"""
REMOVE = 'virsh -q destroy "$1"; virsh -q undefine "$1" --snapshots-metadata; rm -rf "$2"'
DOMAIN = """<domain type="qemu"><name>NAME</name><memory unit="MiB">128</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>FOLDER/vmlinuz</kernel><initrd>FOLDER/initrd.img</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/></features>
<cpu mode="custom"><model>qemu64</model></cpu><devices>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="FOLDER/vda.qcow2"/>
<target dev="vda" bus="virtio"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="FOLDER/vdb.img"/>
<target dev="vdb" bus="virtio"/></disk>
<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel><serial type="pty"/>
</devices></domain>"""
WRITE = 'for d in vda vdb; do printf %s "$0" | dd of=/dev/$d bs=512 seek=8 conv=fsync 2>/dev/null; done'
READ_OFF = """qemu-img convert -O raw -f "$1" "$2" /tmp/$$.raw
dd if=/tmp/$$.raw bs=512 skip=8 count=1 2>/dev/null | head -c 8; rm /tmp/$$.raw"""
WRITE_OFF = 'printf %s "$3" >/tmp/$$.raw && qemu-io -f "$1" -c "write -q -s /tmp/$$.raw 4096 512" "$2"; rm /tmp/$$.raw'
READ = "for d in vda vdb; do dd if=/dev/$d bs=512 skip=8 count=1 2>/dev/null | head -c 8; done"


@dataclass(frozen=True, slots=True)
class Guest:
    """One mini guest with a qcow2 and a raw disk, and NovaFleet's command line beside it."""

    lab: Lab
    host: str
    home: Path
    name: str

    @property
    def folder(self) -> str:
        return f"/var/lib/libvirt/images/{self.name}"

    @property
    def label(self) -> str:
        return f"{self.host}/{self.name}"

    def agent(self, command: str, **arguments: Any) -> Any:
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        told = self.lab.on(self.host, "virsh", "qemu-agent-command", "--timeout", "5", self.name, request, check=False)
        return json.loads(told)["return"] if told.strip() else None

    def runs(self, script: str, word: str = "") -> str:
        """What a shell in the guest prints."""
        words = ["-c", script, *([word] if word else [])]
        pid = self.agent("guest-exec", path="/bin/sh", arg=words, **{"capture-output": True})["pid"]
        ended = until(lambda: (told := self.agent("guest-exec-status", pid=pid))["exited"] and told)
        return base64.b64decode(ended.get("out-data", "")).decode()

    def boot(self) -> None:
        self.lab.on(self.host, "virsh", "-q", "start", self.name)
        until(lambda: self.agent("guest-ping") is not None, 600)

    @property
    def off(self) -> bool:
        return "shut off" in self.lab.on(self.host, "virsh", "domstate", self.name)

    def disks(self) -> list[tuple[str, str]]:
        """Format and path of both disks, as defined."""
        domain = ElementTree.fromstring(self.lab.on(self.host, "virsh", "dumpxml", "--inactive", self.name))
        found = [(disk.find("driver"), disk.find("source")) for disk in domain.iterfind("devices/disk")]
        return [(str(driver.get("type")), str(source.get("file"))) for driver, source in found]  # type: ignore[union-attr]

    def write(self, text: str) -> None:
        text = text.ljust(8, ".")
        if not self.off:
            self.runs(WRITE, text)
            return
        for disk in self.disks():
            self.lab.on(self.host, "sh", "-c", WRITE_OFF, "sh", *disk, text)

    def read(self) -> str:
        """What both disks hold."""
        if self.off:
            told = "".join(self.lab.on(self.host, "sh", "-c", READ_OFF, "sh", *disk) for disk in self.disks())
        else:
            told = self.runs(READ)
        assert told[:8] == told[8:], told
        return told[:8].rstrip(".\0")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "novafleet", "-i", str(self.lab.inventory), "snapshot", *words]

    def snapshot(self, verb: str, *words: str, status: int = 0) -> Any:
        return self.novafleet("snapshot", verb, self.label, *words, status=status)

    def novafleet(self, *words: str, status: int = 0) -> Any:
        command = [sys.executable, "-m", "novafleet", "-i", str(self.lab.inventory), *words, "-o", "json"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=fleet_environment(self.home),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout)

    def kill_at(self, mark: str, verb: str, *words: str) -> None:
        """Start a command, and kill it with -9 when it has said ``mark``."""
        command = self.command(verb, self.label, *words)
        with subprocess.Popen(
            command, cwd=ROOT, env=fleet_environment(self.home), stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            said = next((line for line in running.stderr if mark in line), "")
            running.kill()
            assert said

    def killed_when(self, condition: Callable[[], bool], *words: str) -> None:
        """Start a command, and kill it with -9 when something has come to be."""
        with subprocess.Popen(self.command(*words), cwd=ROOT, env=fleet_environment(self.home)) as running:
            until(condition)
            assert running.poll() is None, "it was too quick"
            running.kill()

    def tree(self) -> dict[str, str]:
        """Parents by snapshot."""
        [vm] = self.snapshot("ls")["vms"]
        return {each["name"]: each["parent"] for each in vm["snapshots"]}

    def files(self) -> list[str]:
        """Images and what lies beside them."""
        return sorted(self.lab.on(self.host, "sh", "-c", f"ls {self.folder} | grep ^vd").split())


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)
    return found


@contextmanager
def made(lab: Lab, host: str, home: Path, name: str, domain: str = DOMAIN) -> Iterator[Guest]:
    guest = Guest(lab, host, home, name)
    mini = yaml.safe_load(Path(lab.images).read_text())["images"]["mini"]
    words = (name, guest.folder, mini["kernel"]["url"], mini["initrd"]["url"])
    text = domain.replace("NAME", name).replace("FOLDER", guest.folder)
    lab.on(host, "sh", "-c", SETUP, "sh", *words, stdin=text)
    yield guest
    lab.on(host, "sh", "-c", REMOVE, "sh", name, guest.folder, check=False)
