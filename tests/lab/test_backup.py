"""Backups of real domains on both flavours: every snapshot is compared, bit by bit, with what the disks were."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import pytest

from tests.lab.backupbench import QUIET, SLOW, TWO, Machine, Shop, kill, machine, modes, reading, shop, until
from tests.labfixture import lost_power

__all__ = ["machine", "shop"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture
def running(machine: Machine) -> Machine:
    """It runs, with two disks that hold something."""
    machine.create(*TWO)
    machine.start()
    machine.write("vda", "write -P 0x11 0 9M", "write -P 0x22 20M 300k")
    machine.write("vdb", "write -P 0x33 1M 2M")
    return machine


def why(row: dict[str, list[dict[str, str]]], target: str) -> str:
    """The reason given for a disk."""
    return next(disk["why"] for disk in row["disks"] if disk["target"] == target)


def test_what_the_guest_zeroed_or_discarded_is_zero(running: Machine) -> None:
    assert modes(running.back_up()) == {"vda": "full", "vdb": "full"}
    running.write("vda", "write -P 0x5a 30M 1M", "write -z 1M 1M", "write -z -u 4M 512k", "discard 6M 1M")
    row = running.back_up()
    assert modes(row) == {"vda": "incremental", "vdb": "incremental"}
    read = {disk["target"]: disk["bytes_read"] for disk in row["disks"]}
    assert (read["vda"], read["vdb"]) == (1 << 20, 0)
    assert modes(running.back_up("--full")) == {"vda": "full", "vdb": "full"}
    running.verify()
    assert len(running.checkpoints()) == 1
    assert running.left_over() == ""


def test_off_and_on_again(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x44 12M 1M")
    running.shop.virsh("destroy", running.name)
    row = running.back_up()
    assert modes(row) == {"vda": "offline", "vdb": "offline"}
    assert "changes since" in why(row, "vda")
    assert sum(disk["bytes_read"] for disk in row["disks"]) == 1 << 20
    running.start()
    running.write("vda", "write -P 0x55 13M 1M", "write -z 0 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()
    assert len(running.checkpoints()) == 1
    assert running.left_over() == ""


def test_a_power_cut_costs_a_read_not_a_byte(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x66 2M 1M")
    running.kill_qemu()
    row = running.back_up()
    assert modes(row)["vda"] == "offline"
    assert "has no bitmap" in why(row, "vda")  # it was only in memory
    running.start()
    running.write("vda", "write -P 0x77 40M 1M")
    running.kill_qemu()
    row = running.back_up()
    assert "not closed cleanly" in why(row, "vda")
    running.start()
    running.back_up()
    running.write("vda", "write -P 0x78 41M 1M")
    running.kill_qemu()
    running.start()
    row = running.back_up()
    assert modes(row) == {"vda": "hash-incremental", "vdb": "hash-incremental"}
    running.write("vda", "write -P 0x79 42M 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()
    assert len(running.checkpoints()) == 1


def test_what_domains_before_it_left_does_not_matter(running: Machine) -> None:
    with lost_power(running.shop.lab, running.shop.host, running.name):
        running.back_up()
        assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}


def test_a_disk_added_one_grown_one_raw(running: Machine) -> None:
    running.back_up()
    for target, form in (("vdc", "qcow2"), ("vdd", "raw")):
        element = ElementTree.tostring(running.disk(target, form, "8M"), encoding="unicode")
        path = f"{running.folder}/{target}.xml"
        running.shop.lab.on(running.shop.host, "sh", "-c", 'cat >"$1"', "sh", path, stdin=element)
        running.shop.virsh("attach-device", running.name, path, "--live", "--config")
    running.write("vdc", "write -P 0x12 1M 1M")
    running.write("vdd", "write -P 0x13 2M 1M")
    running.shop.virsh("blockresize", running.name, "vdb", "48M")
    running.write("vdb", "write -P 0x14 40M 1M")
    row = running.back_up()
    expected = {"vda": "incremental", "vdb": "incremental", "vdc": "hash-incremental", "vdd": "hash-incremental"}
    assert modes(row) == expected
    assert "grew" in why(row, "vdb")
    assert "not part of the last backup" in why(row, "vdc")
    row = running.back_up()
    assert modes(row) == {**expected, "vdc": "incremental"}
    assert "record no changes" in why(row, "vdd")
    running.verify()


def test_a_killed_controller_is_taken_over_from(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x21 0 40M")
    before = running.digests()
    process = running.shop.start("backup", "run", f"{running.shop.host}/{running.name}", *SLOW)
    until(lambda: "upto" in noted(running), 60)
    running.write("vda", "write -P 0x23 0 1M")
    kill(process)
    killed = time.time()
    assert len(running.checkpoints()) == 2
    row = running.back_up("--lock-wait", "60")
    running.taken[row["snapshot"]] = before
    assert row["at"] < killed - 10
    assert sum(disk["bytes_read"] for disk in row["disks"]) < 30 << 20
    assert "an earlier run had stored" in why(row, "vda")
    row = running.back_up()
    assert modes(row) == {"vda": "incremental", "vdb": "incremental"}
    assert sum(disk["bytes_read"] for disk in row["disks"]) == 1 << 20
    running.verify()
    assert len(running.checkpoints()) == 1
    assert running.left_over() == ""


def noted(machine: Machine) -> str:
    """What the controller left word of on the host."""
    uuid = machine.shop.virsh("domuuid", machine.name).strip()
    return machine.shop.on("cat", f"/run/novafleet/backup/{uuid}/job.json", check=False)


def test_an_interrupt_takes_everything_back(running: Machine) -> None:
    running.back_up()
    before = running.checkpoints()
    running.write("vda", "write -P 0x24 0 8M")
    process = running.shop.start("backup", "run", f"{running.shop.host}/{running.name}", *SLOW, "-o", "json")
    until(lambda: reading(running))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while b"Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    [row] = running.shop.ended(process, status=130)["vms"]
    assert row["state"] == "cancelled"
    assert running.checkpoints() == before
    assert running.left_over() == ""
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()


def served(machine: Machine) -> bool:
    """Is an image exported, which keeps the VM from being started?"""
    uuid = machine.shop.virsh("domuuid", machine.name).strip()
    return machine.shop.lab.answers(machine.shop.host, "test", "-S", f"/run/novafleet/backup/{uuid}/vda.sock")


def test_a_vm_that_is_off_can_be_started_once_its_controller_is_killed(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x27 0 20M")
    running.shop.virsh("destroy", running.name)
    process = running.shop.start("backup", "run", f"{running.shop.host}/{running.name}", *SLOW)
    until(lambda: served(running) or process.poll() is not None)
    assert not running.shop.lab.answers(running.shop.host, *QUIET, "start", running.name, "--paused")
    kill(process)
    until(lambda: running.shop.lab.answers(running.shop.host, *QUIET, "start", running.name, "--paused"), 10)
    running.write("vda", "write -P 0x28 1M 1M")
    row = running.back_up("--lock-wait", "60")
    assert modes(row) == {"vda": "incremental", "vdb": "incremental"}
    assert sum(disk["bytes_read"] for disk in row["disks"]) == 20 << 20
    running.verify()
    assert len(running.checkpoints()) == 1
    assert running.left_over() == ""


def test_a_lost_connection_while_a_vm_is_off(running: Machine) -> None:
    """The host lets go of the images; they are exported once more, and read on."""
    running.back_up()
    running.write("vda", "write -P 0x29 0 12M")
    running.shop.virsh("destroy", running.name)
    process = running.shop.start("backup", "run", f"{running.shop.host}/{running.name}", *SLOW, "-o", "json")
    until(lambda: served(running) or process.poll() is not None)
    _end_connection(running.shop, process.pid)
    [row] = running.shop.ended(process)["vms"]
    running.taken[row["snapshot"]] = running.digests()
    assert modes(row) == {"vda": "offline", "vdb": "offline"}
    assert sum(disk["bytes_read"] for disk in row["disks"]) == 12 << 20
    running.verify()
    assert running.left_over() == ""


def _meanwhile(machine: Machine, disturb: Callable[[int], object]) -> dict[str, object]:
    """A slow backup, disturbed (with its process id) once it reads; the disks are as they were when it began."""
    machine.write("vda", "write -P 0x31 0 6M")
    before = machine.digests()
    process = machine.shop.start("backup", "run", f"{machine.shop.host}/{machine.name}", *SLOW, "-o", "json")
    until(lambda: reading(machine))
    disturb(process.pid)
    [row] = machine.shop.ended(process)["vms"]
    machine.taken[row["snapshot"]] = before
    return dict(row)


def _end_connection(shop: Shop, pid: int) -> None:
    """Kill the sshd that serves a process of ours, and no other."""
    sockets = subprocess.run(("ss", "-Htnp"), capture_output=True, text=True, check=True).stdout.splitlines()
    [port] = {line.split()[3].rpartition(":")[2] for line in sockets if f"pid={pid}," in line}
    served = shop.on("ss", "-Htnp", f"dport = :{port}")
    shop.on("kill", "-KILL", *set(re.findall(r"pid=(\d+)", served)))


def test_a_lost_connection_goes_on_at_the_same_moment(running: Machine) -> None:
    running.back_up()

    def disturb(pid: int) -> None:
        until(lambda: "at" in noted(running))
        running.write("vda", "write -P 0x32 0 6M")
        _end_connection(running.shop, pid)

    row = _meanwhile(running, disturb)
    assert modes(row) == {"vda": "incremental", "vdb": "incremental"}
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()
    assert running.left_over() == ""


def test_a_vm_that_stops_meanwhile_is_read_off(running: Machine) -> None:
    running.back_up()
    row = _meanwhile(running, lambda _pid: running.shop.virsh("destroy", running.name))
    assert modes(row) == {"vda": "offline", "vdb": "offline"}
    assert "changes since" in why(row, "vda")  # type: ignore[arg-type]
    running.verify()
    assert running.left_over() == ""


def test_scratch_never_fills_the_file_system(machine: Machine) -> None:
    machine.shop.on("mkdir", "-p", machine.folder)
    machine.shop.on("mount", "-t", "tmpfs", "-o", "size=200M", "tmpfs", machine.folder)
    machine.create(("vda", "qcow2", "128M"))
    machine.start()
    machine.write("vda", "write -P 0x41 0 90M")
    words = ("backup", "run", f"{machine.shop.host}/{machine.name}", "--bandwidth", "4M", "-o", "json")
    process = machine.shop.start(*words)
    until(lambda: reading(machine))
    for step in range(11):
        machine.write("vda", f"write -P {50 + step} {8 * step}M 8M")
    _, complaint = process.communicate(timeout=300)
    assert "scratch file left too little room" in complaint.decode()
    assert len(machine.checkpoints()) == (0 if process.returncode else 1)  # tried once more, when nobody wrote
    assert machine.left_over() == ""
    machine.shop.virsh("resume", machine.name)
    assert machine.shop.virsh("domstate", machine.name).strip() == "running"


def test_others_are_respected(running: Machine) -> None:
    foreign = "<domaincheckpoint><name>theirs</name></domaincheckpoint>"
    path = f"{running.folder}/checkpoint.xml"
    running.shop.lab.on(running.shop.host, "sh", "-c", 'cat >"$1"', "sh", path, stdin=foreign)
    running.shop.virsh("checkpoint-create", running.name, path)
    running.back_up()
    running.write("vda", "write -P 0x51 0 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    assert "theirs" in running.checkpoints()
    theirs = (
        f"<domainbackup mode='pull'><server transport='unix' socket='{running.folder}/theirs.sock'/></domainbackup>"
    )
    running.shop.lab.on(running.shop.host, "sh", "-c", 'chmod 777 "${1%/*}"; cat >"$1"', "sh", path, stdin=theirs)
    running.shop.virsh("backup-begin", running.name, path)
    row = running.back_up(status=1)
    assert row["error"]["code"] == "NF-BAK-010"
    assert "theirs.sock" in running.shop.virsh("backup-dumpxml", running.name)
    running.shop.virsh("domjobabort", running.name)
    running.verify()


def test_an_overlay_made_by_hand_is_read_whole(running: Machine) -> None:
    running.back_up()
    running.shop.virsh("destroy", running.name)
    xml = running.shop.virsh("dumpxml", running.name, "--inactive")
    base, overlay = running.disks["vda"], f"{running.folder}/overlay.qcow2"
    running.shop.on("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
    running.shop.on("qemu-io", "-f", "qcow2", "-c", "write -P 0x61 3M 1M", overlay)
    running.disks["vda"] = overlay
    running.define(xml.replace(base, overlay))
    row = running.back_up()
    assert "another image" in why(row, "vda")
    assert "changes since" in why(row, "vdb")
    running.start()
    running.write("vda", "write -P 0x62 5M 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()


def test_overlays_libvirt_makes_and_merges_keep_the_bitmaps(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x63 2M 1M")
    base, overlay = running.disks["vda"], f"{running.folder}/overlay.qcow2"
    disks = ("--diskspec", f"vda,file={overlay}", "--diskspec", "vdb,snapshot=no")
    running.shop.virsh("snapshot-create-as", running.name, "s", "--disk-only", "--no-metadata", *disks)
    running.disks["vda"] = overlay
    running.write("vda", "write -P 0x64 3M 1M", "discard 1M 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.write("vda", "write -P 0x65 4M 1M")
    running.shop.virsh("blockcommit", running.name, "vda", "--active", "--pivot")
    running.disks["vda"] = base
    running.write("vda", "write -P 0x66 5M 1M")
    row = running.back_up()
    assert row["state"] == "done"
    assert modes(row)["vdb"] == "incremental"
    running.write("vda", "write -P 0x67 6M 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    running.verify()


def test_checkpoints_libvirt_forgot_are_introduced_again(running: Machine) -> None:
    running.back_up()
    [checkpoint] = running.checkpoints()
    running.shop.virsh("checkpoint-delete", running.name, checkpoint, "--metadata")
    running.write("vda", "write -P 0x71 3M 1M")
    assert modes(running.back_up()) == {"vda": "incremental", "vdb": "incremental"}
    [checkpoint] = running.checkpoints()
    running.shop.virsh("checkpoint-delete", running.name, checkpoint)
    running.write("vda", "write -P 0x72 4M 1M")
    row = running.back_up()
    assert modes(row) == {"vda": "hash-incremental", "vdb": "hash-incremental"}
    assert "does not know" in why(row, "vda")
    running.verify()


def test_what_lies_beside_the_disks(machine: Machine) -> None:
    def more(root: ElementTree.Element) -> None:
        system, devices = root.find("os"), root.find("devices")
        assert system is not None
        assert devices is not None
        system.set("firmware", "efi")
        SubElement(system, "type", arch="x86_64", machine="q35")
        first = system.find("type")
        assert first is not None
        system.remove(first)
        system[-1].text = "hvm"
        tpm = SubElement(devices, "tpm", model="tpm-crb")
        SubElement(tpm, "backend", type="emulator", version="2.0")

    machine.create(("vda", "qcow2", "16M"), extra=more)
    machine.start()
    row = machine.back_up()
    shown = machine.shop.run("backup", "show", row["snapshot"])
    assert {"domain.xml", "running.xml", "nvram", "tpm.tar"} <= shown["files"].keys()
    assert shown["facts"]["left_out"] == {"sda": "a cdrom"}
    assert shown["consistency"] == "crash"
    row = machine.back_up("--consistency", "fs", status=1)
    assert row["error"]["code"] == "NF-BAK-014"
    assert len(machine.checkpoints()) == 1


def test_a_vm_without_disks_is_backed_up_with_its_definition(machine: Machine) -> None:
    machine.create()
    machine.start()
    for _ in range(2):
        row = machine.back_up()
        assert (row["state"], row["disks"]) == ("done", [])
    shown = machine.shop.run("backup", "show", row["snapshot"])
    assert {"domain.xml", "running.xml"} <= shown["files"].keys()
    assert (shown["disks"], shown["facts"]["left_out"]) == ([], {"sda": "a cdrom"})
    assert machine.checkpoints() == []


def test_dry_run_changes_nothing(running: Machine) -> None:
    row = running.back_up("--dry-run")
    assert (row["state"], modes(row)) == ("planned", {"vda": "full", "vdb": "full"})
    assert running.checkpoints() == []
    assert running.shop.run("backup", "ls")["snapshots"] == []
    running.back_up()
    running.write("vda", "write -P 0x73 3M 2M")
    row = running.back_up("--dry-run")
    assert modes(row) == {"vda": "incremental", "vdb": "incremental"}
    assert [disk["bytes_read"] for disk in row["disks"]] == [2 << 20, 0]


def test_exit_statuses(running: Machine) -> None:
    shop = running.shop
    named = f"{shop.host}/{running.name}"
    shop.virsh("undefine", running.name)  # a transient domain goes away with its QEMU, but is a domain
    done = subprocess.run(shop.command("backup", "run", f"{shop.host}/nothing"), capture_output=True, check=False)
    assert done.returncode == 2
    said = shop.run("backup", "run", named)
    assert [vm["state"] for vm in said["vms"]] == ["done"]
    shop.virsh("define", f"{running.folder}/domain.xml")  # persistent again: `remove` takes it away with its file
    text = subprocess.run(shop.command("runs", "ls", "-o", "json")[:-4], capture_output=True, check=False)
    assert text.returncode in (0, 2)
    json.loads(text.stdout or b"{}")
