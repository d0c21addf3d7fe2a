"""Snapshots and runs of their verbs, to print."""

from __future__ import annotations

from novafleet.app.party import Done, VmResult
from novafleet.app.snapshotimport import Imported
from novafleet.app.snapshotview import Listing, SnapshotRow, VmSnapshots
from novafleet.errors import SnapshotError, UnreachableError
from tests.unit.report.samples import HOSTILE

AT = 1_795_259_471.0
RUN = "20261121T083008-c366"
ROW = SnapshotRow(
    name="before-upgrade",
    parent="",
    made=AT,
    mode="fs",
    kind="external",
    size=1 << 20,
    current=True,
    text=HOSTILE,
    tags=("nightly",),
    expires=AT + 7 * 86400,
    state="running",
    images={"vda": "/var/lib/libvirt/images/db.root.qcow2"},
)
LISTING = Listing(
    (VmSnapshots("db", "devlab-db", "kvm1", "devlab", "running", (ROW,)),),
    {"kvm9": UnreachableError("connection refused", where="kvm9")},
)
ERROR = SnapshotError("there is no such snapshot", code="NF-SNAP-002", where="kvm2").finding()


def done(verb: str, **outcome: object) -> Done:
    """A run that did this to one VM and failed with another."""
    return Done(
        verb,
        RUN,
        (
            VmResult("db", "devlab-db", "kvm1", "devlab", "done", outcome),
            VmResult("web", "devlab-web", "kvm2", "devlab", "failed", error=ERROR),
        ),
        2.4,
        group=RUN if verb == "create" else "",
        skew_ms=3.5 if verb == "create" else None,
    )


CREATED = done(
    "create", snapshot="before-upgrade", mode="fs", why="", frozen=2, frozen_seconds=0.2, began=1.0, ended=1.1
)
REVERTED = done("revert", snapshot="before-upgrade", safety="before-20261121-111111", freed=0, merged=0)
REMOVED = done("rm", removed=["before-upgrade"], freed=1 << 20, merged=2 << 20)
EXPORTED = done("export", path="/srv/db.nfvm", bytes=734003200, snapshots=["before-upgrade"], mode="fs", why="")
IMPORTED = Imported(
    "20261121T083008-c366",
    "/srv/db.nfvm",
    "kvm3",
    "done",
    {
        "name": "db-copy",
        "uuid": "5f1c",
        "disks": {"vda": "/var/lib/libvirt/images/db-copy.vda.qcow2"},
        "snapshots": ["before-upgrade"],
        "macs": ["52:54:00:12:34:56"],
        "started": False,
        "notes": ["sda: a cdrom is not part of an archive: it is empty"],
    },
    12.5,
)
