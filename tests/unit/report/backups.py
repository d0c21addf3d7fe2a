"""Backups to print."""

from __future__ import annotations

from novafleet.app.backedup import BackedUp, DiskBackup, VmBackup
from novafleet.app.stored import Difference, DiskDifference, Verification, Verified
from novafleet.model.backup import Blob, Consistency, CopyMode, DiskCopy, Snapshot
from novafleet.repository.records import Proof

WHY = "changes since nf-814f2882-01a1"
ROOT = DiskBackup("root", "vda", "incremental", WHY, 2 << 30, 1 << 20, 70_000)
DONE = VmBackup("db", "devlab-db", "kvm1", "done", "devlab", "01kah2", "fs", 1.6, (ROOT,))
FAILED = VmBackup("web", "web", "kvm2", "failed", error={"code": "NF-BAK-012", "what": "too little room"})
RUN = BackedUp("20261121T115751-7100", "/srv/backup", (DONE,), 2.4)
COPY = DiskCopy("root", "vda", 2 << 30, "9f", "qcow2", "/p/db", CopyMode.INCREMENTAL, WHY, "nf-1", 1 << 20, 70_000)
SNAPSHOT = Snapshot(
    id="01kah2",
    vm="db",
    domain="devlab-db",
    uuid="5f1c",
    host="kvm1",
    at=1795259471.0,
    consistency=Consistency.FS,
    disks={"root": COPY},
    files={"domain.xml": Blob("7a", 2270)},
    environment="devlab",
    parent="01kah1",
    tags=("nightly",),
    facts={"libvirt": 11003000},
    seconds=1.6,
)
GATES = {"tcp:22": "10.20.0.10:22 is open"}
FACTS = {"host": "kvm2", "rpo": 28800.0, "gates": GATES, "run": "20261121T083008-c366"}
PROOFS = (Proof("01kah2", "drill", 1795288271.0, ok=True, seconds=31.2, facts=FACTS),)
DIFFERENCE = Difference("01kah1", "01kah2", (DiskDifference("root", 2 << 30, 2 << 30, 1 << 20),))
VERIFIED = Verification("01kah2", (Verified("root", 2 << 30, "ab12"),))
