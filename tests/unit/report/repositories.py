"""What the verbs of ``repo`` and the retention of backups find and do, to print."""

from __future__ import annotations

from novafleet.app.repo import Info, Initialized, Scrub
from novafleet.app.retention import Forgotten, Pruned
from novafleet.repository.check import Checked, Damage, Scrubbed
from novafleet.repository.collected import Collected
from novafleet.repository.keys import Slot, SlotKind
from novafleet.repository.records import Hold
from novafleet.repository.repair import Repaired
from novafleet.repository.replicate import Copied
from novafleet.repository.retention import Verdict
from novafleet.repository.stats import Stats, VmStats
from novafleet.repository.trash import Trashed
from novafleet.repository.walk import Lost
from tests.unit.report.backups import SNAPSHOT
from tests.unit.report.samples import HOSTILE

AT = 1_795_259_471.0
INITIALIZED = Initialized("/srv/backup", "6365", exclusive=True, why="", skew=0.0, new_key="fleet.key")
INFO = Info("/srv/backup", "6365", 1 << 20, 12, 1, 0, 214, 6 << 30, 2, ("desk pid 812",), 3, 0, "01kah2")
LOST = Lost("01kah2", "db", "root", 524_288, 65_536, "its pack 9f is missing", "4b")
CHECKED = Checked(12, 214, 0, (Damage("", LOST.why, LOST.snapshot, "db", "root", 524_288, 65_536, "4b"),))
SCRUB = Scrub(214, 6 << 30, (Scrubbed("9f", 32 << 20, HOSTILE),))
STATS = Stats(12, 1, 214, 7012, 60 << 30, 20 << 30, 6 << 30, {"devlab/db": VmStats(6, 30 << 30, 10 << 30, 4 << 30, AT)})
REPAIRED = Repaired(quarantined=["9f"], salvaged=30, lost=(LOST,))
COPIED = Copied(("01kah2",), 214, 6 << 30, 0, ())
SLOT = Slot("3cfcbd5ad6843df2", SlotKind.FILE, "salt", "wrapped", "first", AT)

FORGOTTEN = Forgotten((Verdict(SNAPSHOT, keep=True, reasons=("daily 2026-11-21",)),), dry=False)
PRUNED = Pruned(FORGOTTEN, (Collected(3, ("9f",), 32 << 20, emptied=("01kah0",), waiting=("until tomorrow",)),))
TRASH = (
    (Trashed(SNAPSHOT.id, "trash/01kah2/01kah3", AT), SNAPSHOT),
    (Trashed("01kah0", "trash/01kah0/01kah3", AT), None),
)
HOLDS = {SNAPSHOT.id: Hold(SNAPSHOT.id, AT, HOSTILE)}
