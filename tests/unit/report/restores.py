"""Restores, drills and files out of backups, to print."""

from __future__ import annotations

from novafleet.app.browse import Fetched, Listed, Part
from novafleet.app.drill import Drilled
from novafleet.app.restore import VmRestored, outcome
from novafleet.app.restorefile import FileRestored
from novafleet.capability.backup.restore import Restored
from novafleet.capability.backup.restore_disks import RestoredDisk
from tests.unit.report.samples import HOSTILE

ROOT = RestoredDisk("root", "vda", "/var/lib/libvirt/images/db.root.qcow2", "qcow2", 2 << 30, 700 << 20)
VM = Restored("db", "5f1c", (ROOT,), ("52:54:00:0a:1b:2c",), started=False, notes=(HOSTILE,))
RESTORED = VmRestored("20261121T083008-c366", "01kah2", "kvm3", "done", outcome(VM), 12.4)
FILE = FileRestored("01kah2", "root", "root.img", "raw", 2 << 30, 700 << 20)
DRILLED = Drilled(
    "db", "01kah2", "kvm2", True, 31.2, 28_800.0, {"tcp:22": "10.20.0.10:22 is open"}, "20261121T083008-c366"
)

PART = Part("root", 1, 1 << 20, 2047 << 20, "ext4", HOSTILE)
FSTAB = Listed("fstab", "file", 311, 0o100644, 0, 0, 1_795_247_654)
FETCHED = Fetched("01kah2", "root", 1, "/etc/fstab", "fstab", 311)
