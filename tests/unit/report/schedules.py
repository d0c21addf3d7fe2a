"""Schedules and runs of them, as they are printed."""

from __future__ import annotations

from novafleet.app.schedule import Installed, Listed
from novafleet.errors import BackupError, ExitCode, RepositoryError, ScheduleError
from novafleet.model.schedule import Duty, RunState, Schedule, ScheduledRun, VmOutcome
from tests.unit.report.samples import HOSTILE

AT = 1_795_222_800.0
DAILY = Schedule("devlab", ("/fleet/inventory",), "0 1 * * *", "systemd", AT - 9 * 86400, "/fleet/devlab.yml")
SATURDAY = Schedule("devlab-build", ("/fleet/inventory",), "0 4 * * 6", "cron", AT - 9 * 86400, "/fleet/devlab.yml")
INSTALLED = Installed((DAILY, SATURDAY), ("devlab-old",), ("timers stop when you log out, unless …",))

RUN = ScheduledRun(
    "devlab",
    "20261121T010000Z-0a1b",
    AT,
    RunState.FAILED,
    AT + 187,
    ExitCode.FAILED,
    "s3://backups/fleet",
    (
        VmOutcome("kvm1/devlab-db", "01KAH2", 3 << 30, 500 << 20, {"root": "incremental", "data": "hash-incremental"}),
        VmOutcome(
            "kvm2/devlab-web",
            error=BackupError(HOSTILE, code="NF-BAK-002", where="kvm2", cause="no space", hints=("df",)).finding(),
        ),
    ),
    (
        Duty("forget", "3 of 12 snapshots"),
        Duty("verify", "5% of the repository (1.2 GiB), clean"),
        Duty("drill", "failed", RepositoryError("it does not boot", where="kvm3").finding()),
    ),
    (AT - 2 * 86400, AT - 86400),
    told=("webhook",),
)
SKIPPED = ScheduledRun("devlab", "20261121T090000Z-0a1b", AT, RunState.SKIPPED, AT, missed=(AT - 86400,))
DIED = ScheduledRun(
    "devlab-build",
    "x",
    AT - 86400,
    RunState.DIED,
    errors=(ScheduleError("the run was killed", code="NF-SCHED-005").finding(),),
)
LISTED = (
    Listed(DAILY, "active", AT + 86400, RUN, ()),
    Listed(SATURDAY, "absent", AT + 7 * 86400, DIED, (AT,)),
    Listed(Schedule("hosts-kvm", ("/fleet/inventory",), "0 * * * *", "systemd", AT), "inactive", AT + 3600, None, ()),
)
