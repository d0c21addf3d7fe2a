"""Results of drains, rebalancing, what-if and jobs, for their reports."""

from __future__ import annotations

from novafleet.app.convoy import Moved, Travelled
from novafleet.app.drain import Drafted, Drained, Order
from novafleet.app.job import Job
from novafleet.app.rebalance import Balanced, Weighed
from novafleet.app.rebalance import Order as BalanceOrder
from novafleet.app.terms import Governing, Terms
from novafleet.app.whatif import Answer
from novafleet.placement.problem import Load, Plan, PlannedMove, Proof, Rules, Unmovable
from novafleet.placement.whatif import Outlook

MOVE = PlannedMove("kvm2/devlab-db", "kvm2", "kvm1", 9 << 30, 10)
FIREWALL = Unmovable("kvm2/fw", "NF-PLACE-011", "kvm1 has no network dmz", "make it", {"kvm1": "has no network dmz"})
PROOF = Proof("impossible", "as things are no host can take kvm2/fw")
BEFORE, AFTER = Load(0.61, "kvm1", 0.12), Load(0.74, "kvm1", 0.0)
GOVERNING = Governing({"kvm2/devlab-db": Terms(10, 0, ("live",))}, {}, Rules())
DRAFTED = Drafted(
    Order(("inventory",), "kvm2"),
    "host drain",
    Plan((MOVE,), (FIREWALL,), PROOF, BEFORE, AFTER),
    GOVERNING,
    ("edge",),
    closed_now=("kvm2/devlab-db",),
    notes=("environment devlab: never brought up from here, so its policies are not known",),
)
OUTCOME = {"mode": "live", "path": "tunnel", "total_ms": 7120.4, "downtime_ms": 84.2}
TRAVELLED = Travelled(
    "20261121T083008-c366",
    (
        Moved("kvm2/devlab-db", "kvm2", "kvm1", "done", OUTCOME),
        Moved("kvm2/ci", "kvm2", "kvm1", "waiting"),
    ),
)
DRAINED = Drained(DRAFTED, TRAVELLED)
WEIGHED = Weighed(BalanceOrder(("inventory",)), Plan((MOVE,), (), PROOF, BEFORE, AFTER), GOVERNING)
BALANCED = Balanced(WEIGHED)
OUTLOOK = Outlook("host-down", "kvm2", (MOVE,), (FIREWALL,), PROOF, BEFORE, AFTER, (192 << 30, 96 << 30), (1, 1), "")
ANSWER = Answer(OUTLOOK, 1795277205.7, 3600.0, 3, 21)
JOB = Job("20261121T083008-c366", "host drain", "kvm2", "killed", 1.0, 0.0, "ops@x pid 1", ("kvm2/devlab-db",), 0)
