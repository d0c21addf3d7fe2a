"""Snapshots of real guests on libvirt 9.0 and 11.3: what a guest wrote is what it finds, whatever was killed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.labfixture import ROOT, Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
HOSTS = ("kvm1", "kvm2")
NAME = "nf-snapshot-test"
FOLDER = f"/var/lib/libvirt/images/{NAME}"
SETUP = """
virsh -q destroy "$1"; virsh -q undefine "$1" --snapshots-metadata; rm -rf "$2"
install -d -o libvirt-qemu -m 0755 "$2" && cd "$2" || exit
curl -sf -o vmlinuz "$3" && curl -sf -o initrd.img "$4" && qemu-img create -q -f qcow2 vda.qcow2 64M || exit
qemu-img create -q -f raw vdb.img 32M && cat >domain.xml && virsh -q define domain.xml
"""
REMOVE = 'virsh -q destroy "$1"; virsh -q undefine "$1" --snapshots-metadata; rm -rf "$2"'
DOMAIN = f"""<domain type="qemu"><name>{NAME}</name><memory unit="MiB">128</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>{FOLDER}/vmlinuz</kernel><initrd>{FOLDER}/initrd.img</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/></features>
<cpu mode="custom"><model>qemu64</model></cpu><devices>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{FOLDER}/vda.qcow2"/>
<target dev="vda" bus="virtio"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="{FOLDER}/vdb.img"/>
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

    def agent(self, command: str, **arguments: Any) -> Any:
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        told = self.lab.on(self.host, "virsh", "qemu-agent-command", "--timeout", "5", NAME, request, check=False)
        return json.loads(told)["return"] if told.strip() else None

    def runs(self, script: str, word: str = "") -> str:
        """What a shell in the guest prints."""
        words = ["-c", script, *([word] if word else [])]
        pid = self.agent("guest-exec", path="/bin/sh", arg=words, **{"capture-output": True})["pid"]
        ended = until(lambda: (told := self.agent("guest-exec-status", pid=pid))["exited"] and told)
        return base64.b64decode(ended.get("out-data", "")).decode()

    def boot(self) -> None:
        self.lab.on(self.host, "virsh", "-q", "start", NAME)
        until(lambda: self.agent("guest-ping") is not None, 600)

    @property
    def off(self) -> bool:
        return "shut off" in self.lab.on(self.host, "virsh", "domstate", NAME)

    def disks(self) -> list[tuple[str, str]]:
        """Format and path of both disks, as defined."""
        domain = ElementTree.fromstring(self.lab.on(self.host, "virsh", "dumpxml", "--inactive", NAME))
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
        command = self.command(verb, f"{self.host}/{NAME}", *words, "-o", "json")
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
        command = self.command(verb, f"{self.host}/{NAME}", *words)
        with subprocess.Popen(
            command, cwd=ROOT, env=fleet_environment(self.home), stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            said = next((line for line in running.stderr if mark in line), "")
            running.kill()
            assert said

    def tree(self) -> dict[str, str]:
        """Parents by snapshot."""
        [vm] = self.snapshot("ls")["vms"]
        return {each["name"]: each["parent"] for each in vm["snapshots"]}

    def files(self) -> list[str]:
        """Images and what lies beside them."""
        return sorted(self.lab.on(self.host, "sh", "-c", f"ls {FOLDER} | grep ^vd").split())


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.2)
    return found


@pytest.fixture(params=HOSTS)
def guest(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path) -> Iterator[Guest]:
    mini = yaml.safe_load(Path(lab.images).read_text())["images"]["mini"]
    words = (NAME, FOLDER, mini["kernel"]["url"], mini["initrd"]["url"])
    lab.on(request.param, "sh", "-c", SETUP, "sh", *words, stdin=DOMAIN)
    made = Guest(lab, request.param, fleet_home)
    yield made
    lab.on(request.param, "sh", "-c", REMOVE, "sh", NAME, FOLDER, check=False)


def test_the_life_of_snapshots(guest: Guest) -> None:
    guest.boot()
    for name, mode in (("a", "fs"), ("b", "crash"), ("c", "live")):
        guest.write(name)
        [vm] = guest.snapshot("create", "--name", name, "--mode", mode, "--require", mode, "--tag", "t")["vms"]
        assert vm["outcome"]["mode"] == mode
    guest.write("now")
    assert guest.tree() == {"a": "", "b": "a", "c": "b"}

    guest.snapshot("rm", "b", "--yes")
    assert (guest.read(), guest.tree()) == ("now", {"a": "", "c": "a"})

    [vm] = guest.snapshot("revert", "c", "--yes")["vms"]
    safety = vm["outcome"]["safety"]
    assert guest.read() == "c", "it runs on from its memory"
    assert guest.tree() == {"a": "", "c": "a", safety: "c"}
    guest.write("branch")
    guest.snapshot("create", "--name", "d")

    for name, wanted in (("a", "a"), (safety, "now"), ("d", "branch")):
        guest.snapshot("revert", name, "--yes", "--no-safety", "--no-start")
        assert (guest.off, guest.read()) == (True, wanted)
    assert guest.tree() == {"a": "", "c": "a", safety: "c", "d": "c"}

    guest.snapshot("rm", "--all", "--yes")
    assert (guest.read(), guest.tree()) == ("branch", {})
    assert guest.files() == ["vda.qcow2", "vdb.img"]


def test_a_controller_killed_while_a_guest_is_frozen_or_its_images_are_merged(guest: Guest) -> None:
    guest.boot()
    guest.write("a")
    guest.kill_at("/freeze", "create", "--name", "a")
    guest.snapshot("create", "--name", "b", "--require", "fs")
    guest.write("now")
    assert guest.read() == "now", "nobody is frozen"
    assert set(guest.tree()) - {"a"} == {"b"}
    _killed_while_it_removes(guest, "b")
    assert guest.read() == "now"


def test_a_controller_killed_while_it_removes_from_a_vm_that_is_off(guest: Guest) -> None:
    for name in ("a", "b", "c"):
        guest.write(name)
        guest.snapshot("create", "--name", name)
    guest.write("now")
    _killed_while_it_removes(guest, "b")
    assert guest.read() == "now"
    for name, wanted in (("c", "c"), ("a", "a")):
        guest.snapshot("revert", name, "--yes", "--no-safety")
        assert guest.read() == wanted
    assert len(guest.files()) == 6


def _killed_while_it_removes(guest: Guest, name: str) -> None:
    guest.kill_at("/forget", "rm", name, "--yes")
    [vm] = guest.snapshot("ls")["vms"]
    assert name not in [each["name"] for each in vm["snapshots"]]
    if vm["unfinished"]:
        guest.snapshot("rm", name, "--yes")
    [vm] = guest.snapshot("ls")["vms"]
    assert not vm["unfinished"]
