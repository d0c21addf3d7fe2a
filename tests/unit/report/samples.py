"""One of everything a report shows, with text nobody should obey."""

from __future__ import annotations

from novafleet.app.change import Finished
from novafleet.app.party import Done as Switched
from novafleet.app.party import VmResult
from novafleet.app.vm import Listing, VmRow
from novafleet.app.vmshow import Details, VmDetail, VmDisk
from novafleet.capability.migration.guest import GuestNic
from novafleet.errors import ExitCode, GateError, Location, UnreachableError
from novafleet.model.finding import Finding, Severity
from novafleet.model.plan import Change, Impact, Plan, Reason, ResourceChange, Step, StepClass
from novafleet.model.run import NodeResult, NodeState, Record, Run, RunState
from novafleet.model.status import Drift, ResourceStatus

HERE = Location("devlab.yml", 12, 5)
HOSTILE = "[bold red]db\x1b[2J\x07[/]"
MIB = 1024**2
GATE = GateError(
    "db is not ready after 60 s: gate cloud-init",
    where=HERE,
    cause="status: running",
    hints=("novafleet host exec -l kvm1 -- virsh console devlab-db",),
)


def step(address: str, verb: str, host: str = "kvm1", after: tuple[str, ...] = ()) -> Step:
    return Step(f"{address}/{verb}", f"vm.{verb}", address, host, StepClass.PROBED, {"name": "db"}, after, label=verb)


DB = ResourceChange(
    "vm.db",
    "vm",
    "db",
    "kvm1",
    Change.CREATE,
    steps=(step("vm.db", "define"), step("vm.db", "start", after=("vm.db/define",))),
)
WEB = ResourceChange(
    "vm.web",
    "vm",
    "web",
    "kvm2",
    Change.UPDATE,
    Impact.REBOOT,
    (Reason("vcpus changed", "vcpus", "1", "2", HERE), Reason("on the host: [red]x[/red]")),
    steps=(step("vm.web", "redefine", "kvm2"),),
)
OLD = ResourceChange(
    "volume.old.data",
    "volume",
    "old.data",
    "kvm2",
    Change.DELETE,
    Impact.DATA_LOSS,
    bytes_lost=7168 * MIB,
    steps=(step("volume.old.data", "delete", "kvm2"),),
)
NET = ResourceChange("network.lan@kvm1", "network", "lan", "kvm1", Change.NONE, reasons=(Reason("used by others"),))
EDGE = ResourceChange(
    "stack.edge", "stack", "edge", "kvm1", Change.REPLACE, Impact.RECREATE, steps=(step("stack.edge", "up"),)
)
PLAN = Plan("devlab", "up", (DB, NET, WEB, OLD, EDGE), "d1ge57", {"kvm9": "connection refused"})

RESULTS = (
    NodeResult("vm.db/start", "vm.db", "kvm1", NodeState.DONE, 0.5, 2.25, label="boot"),
    NodeResult("vm.db/ready", "vm.db", "kvm1", NodeState.FAILED, 2.25, 62.25, 1, "cloud-init", GATE.finding()),
    NodeResult("vm.web/start", "vm.web", "kvm2", NodeState.SKIPPED, 0, 0, 0, because="vm.db/ready on kvm1 failed"),
    NodeResult("vm.old/stop", "vm.old", "kvm2", NodeState.UNKNOWN, 0, 1, 1),
)
PATH = ("critical path 62.2 s: boot 1.8 s, cloud-init 60.0 s", "db: cloud-init 60.0 s of 62.2 s")
FAILED = Finished("devlab", "up", "failed", ExitCode.FAILED, 62.5, "20261121T083008-c366", 2, RESULTS, PATH)
DONE = Finished("devlab", "up", "done", ExitCode.OK, 2.25, "20261121T083008-c366", 1, RESULTS[:1], residue=("vm.web",))

STATUS = (
    ResourceStatus("network", "lan", "network.lan@kvm1", "kvm1", "active"),
    ResourceStatus("vm", "db", "vm.db", "kvm1", "running", True),
    ResourceStatus(
        "vm",
        "web",
        "vm.web",
        "kvm2",
        "running",
        False,
        (Drift("vcpus", "1", "1", "2", "changed-on-host"), Drift("memory", "1 GiB", "", "512 MiB", "both")),
        "tcp:80: connection refused",
    ),
    ResourceStatus("stack", "edge", "stack.edge", "kvm9", "unreachable"),
)

VMS = Listing(
    (
        VmRow(
            "devlab-db", "kvm1", "running", 2, 1024 * MIB, "devlab", "0b0a6cd9-f91d-4edf-91d5-d7bf5a5e3c42", "booted"
        ),
        VmRow(HOSTILE, "kvm2", "shutoff", 1, 128 * MIB, "", "1f956bda-4e92-442d-9a81-ae517b58dd15", "crashed"),
    ),
    {"kvm9": "connection refused"},
)

DETAILS = Details(
    (
        VmDetail(
            VMS.vms[0], "db", autostart=True, machine="pc-q35-10.0", firmware="bios", cpu="custom",
            disks=(VmDisk("vda", "disk", "qcow2", "/var/lib/libvirt/images/devlab.db.root.qcow2", 2 << 30, 20 * MIB),),
            nics=(GuestNic("52:54:00:1c:7a:02", "network", "devlab-lan"),),
            addresses=("10.97.1.10",),
        ),
        VmDetail(
            VMS.vms[1], HOSTILE, autostart=False, machine="pc", firmware="uefi", cpu="",
            disks=(VmDisk("sda", "cdrom", "raw", ""),), nics=(), addresses=(), move="its migration has not ended",
        ),
    ),
    {"kvm9": UnreachableError("connection refused", where="kvm9")},
)  # fmt: skip

STOPPED = Switched(
    "stop",
    "20261121T083008-c366",
    (
        VmResult("db", "devlab-db", "kvm1", "devlab", "done", {"orderly": True}),
        VmResult("web", "devlab-web", "kvm1", "devlab", "done", {"orderly": False}),
        VmResult("old", "devlab-old", "kvm1", "devlab", "done", {"absent": False}),
        VmResult("", HOSTILE, "kvm2", "", "failed", error=GATE.finding()),
    ),
    4.2,
)

FINDINGS = (
    Finding("kvm1", "ssh", Severity.OK, "connected and ran a command in 12 ms"),
    Finding("kvm1", "kvm", Severity.WARNING, "no KVM: no /dev/kvm", "modprobe kvm_intel or kvm_amd"),
    Finding(
        "kvm2", "libvirt", Severity.ERROR, f"libvirt does not answer: {HOSTILE}", "systemctl enable --now libvirtd"
    ),
    Finding(
        "kvm2", "clock", Severity.ERROR, "clock is +90 s off the fleet", "timedatectl set-ntp true (or install chrony)"
    ),
)

STARTED = 1795247654.0
RUN = Run(
    "20261121T083414-c366",
    "devlab",
    "up",
    RunState.FAILED,
    STARTED,
    STARTED + 62.5,
    "ann@desk pid 7",
    {"file": "devlab.yml"},
    {"changed": 2, "critical_path": list(PATH), "residue": []},
)
OLDER = Run("20261120T083414-0a1b", "prod", "down", RunState.RUNNING, STARTED - 86400, 0.0, "bob[1]@desk pid 8")


def record(node: str, kind: str, at: float, attempt: int = 1, **payload: object) -> Record:
    return Record(RUN.id, node, attempt, kind, 3, STARTED + at, payload)


RECORDS = (
    record("vm.db/start", "intent", 0.5, action="vm.start"),
    record("vm.db/start", "done", 2.25, outcome={"pid": 7}),
    record("vm.db/ready", "intent", 2.25, action="gate.wait"),
    record("vm.db/ready", "failed", 32.0, error=GATE.finding()),
    record("vm.db/ready", "intent", 32.5, 2, action="gate.wait"),
    record("vm.db/ready", "failed", 62.5, 2, error=GATE.finding()),
    record("vm.web/start", "skipped", 62.5, 0, because="vm.db/ready on kvm1 failed"),
    record("vm.old/stop", "intent", 3.0, action="vm.stop"),
    record("vm.lost/stop", "failed", 4.0, error=GATE.finding()),
    record("vm.lost/stop", "intent", 5.0, 2, action="vm.stop"),
)
