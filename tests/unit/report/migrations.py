"""Migrations to report."""

from __future__ import annotations

from dataclasses import replace

from novafleet.app.migrate import Done, VmMove
from novafleet.app.migrateundo import Kept
from novafleet.capability.migration.quarantine import Quarantine
from novafleet.capability.migration.stack import StackMove, StackVolume
from novafleet.capability.migration.stackcheck import judge
from novafleet.capability.migration.stacklook import StackImage, StackSeen
from novafleet.errors import MigrationError
from novafleet.model.environment import Gate, GateKind
from novafleet.model.migration import GateAhead, GateSeen, Mode, Outcome, Path

OUTCOME = Outcome(
    job="5f0c92aa",
    vm="db",
    domain="devlab-db",
    source="kvm1",
    destination="kvm2",
    mode=Mode.LIVE,
    path=Path.TUNNEL,
    total_ms=7120.4,
    downtime_ms=84.2,
    downtimes={"libvirt": 61.0, "events": 63.5, "probe": 84.2},
    verified=True,
    undo_until=1795363605.7,
    tried=({"mode": "postcopy", "why": "not possible here", "code": "NF-LV-187"},),
    gates=(GateSeen("tcp:5432", "10.9.0.10:5432 is open", 0.3),),
)
MOVED = VmMove("db", "devlab-db", "kvm1", "kvm2", "done", OUTCOME)
REFUSED = MigrationError("the hosts have no SSH connection", code="NF-MIG-103", where="kvm2", hints=("--path relay",))
STAYED = VmMove("web", "devlab-web", "kvm1", "kvm2", "rolled-back", error=REFUSED.finding())
ONE = Done("20261121T083008-c366", (MOVED,), single=True)
BOTH = Done("20261121T083008-c366", (MOVED, STAYED))
STACK_MOVE = StackMove(
    job="5f0c92aa",
    name="stack.edge",
    project="devlab-edge",
    uuid="u",
    environment="devlab",
    source="kvm2",
    destination="kvm3",
    engine="docker",
    runs_by="docker",
    kind="compose",
    root="/var/lib/novafleet/stacks/devlab-edge",
    volumes=(StackVolume("devlab-edge_data", "/var/lib/docker/volumes/devlab-edge_data/_data", {"app": "edge"}),),
    up=2,
)
STACK_SEEN = StackSeen(
    sizes={"": 8192, "devlab-edge_data": 70 << 20},
    images=(StackImage("localhost/httpd:1", 2 << 20, False),),
    ports=("8080/tcp",),
    taken=("8080/tcp",),
    room={"/var/lib/docker": 50 << 30},
    link_rate=100.0 * (1 << 20),
)
STACK_GATE = GateAhead(Gate(GateKind.HTTP, {"port": 8080}), True, "127.0.0.1:8080/ answers 200")
STACK = judge(STACK_MOVE, STACK_SEEN, None, (STACK_GATE,))
LEFT = Quarantine(
    "5f0c92aa",
    "db",
    "devlab-db",
    "u",
    "devlab",
    "kvm1",
    "kvm2",
    "live",
    1.0,
    86401.0,
    "<domain/>",
    committed=True,
    size=7,
)
KEPT = Kept(100.0, (LEFT,), {}, (replace(LEFT, until=50.0),))
