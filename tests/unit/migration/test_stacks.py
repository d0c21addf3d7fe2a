"""Container stacks: what their dossier says, and what both hosts show of one that was cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from novafleet.app.migrate import Done, VmMove
from novafleet.app.migratestack import outcome_of
from novafleet.app.recoverstack import meant
from novafleet.capability.migration import stackjob
from novafleet.capability.migration.recover import Action, Facts, Seen, decide_recovery
from novafleet.capability.migration.stack import StackMove
from novafleet.capability.migration.stackcheck import judge, refuse_stack
from novafleet.capability.migration.stackjob import StackJob, keep_stack, kept_stacks, look_stack
from novafleet.capability.migration.stacklook import StackSeen, look_there
from novafleet.errors import MigrationError
from novafleet.model.command import Command, Completed
from novafleet.model.encode import decode, encode
from novafleet.model.environment import Gate, GateKind
from novafleet.model.fleet import Host
from novafleet.model.migration import GateAhead, GateSeen, Mode, Phase
from novafleet.report import migrate as report
from tests.unit.report.migrations import STACK, STACK_GATE, STACK_MOVE, STACK_SEEN

MIB = 1 << 20


def codes(seen: StackSeen, move: StackMove = STACK_MOVE, maintenance: str | None = None) -> list[str]:
    return [each.code for each in judge(move, seen, maintenance).findings]


FREE = replace(STACK_SEEN, taken=())


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"taken": ("8080/tcp",)}, "NF-MIG-424"),
        ({"in_the_way": ("volume devlab-edge_data",)}, "NF-MIG-420"),
        ({"room": {"/var/lib/docker": 60 * MIB}}, "NF-MIG-321"),
        ({"bound": ("/srv/data",)}, "NF-MIG-425"),
    ],
)
def test_what_is_in_the_way_is_found(changed: dict[str, Any], code: str) -> None:
    assert codes(FREE) == []
    assert codes(replace(FREE, **changed)) == [code]


def test_a_host_in_maintenance_another_engine_and_a_volume_that_stays() -> None:
    assert codes(FREE, maintenance="disks") == ["NF-MIG-620"]
    assert codes(FREE, replace(STACK_MOVE, runs_by="podman")) == ["NF-MIG-426"]
    assert codes(FREE, replace(STACK_MOVE, stays={"nfs": "its data lies elsewhere: :/srv"})) == ["NF-MIG-425"]


def test_blockers_refuse_with_their_fixes_and_warnings_do_not() -> None:
    refuse_stack(judge(STACK_MOVE, replace(FREE, bound=("/srv",)), None))
    with pytest.raises(MigrationError) as caught:
        refuse_stack(judge(STACK_MOVE, replace(STACK_SEEN, in_the_way=("container x",)), None))
    assert caught.value.code == "NF-MIG-420"
    assert "8080/tcp" in caught.value.cause
    assert len(caught.value.hints) == 2


def test_a_stack_that_moved_is_told_with_its_gates(capsys: pytest.CaptureFixture[str]) -> None:
    """What a step tells has been through the journal: it is data."""
    gate = GateSeen("http:8080", "200", 0.4)
    step = {"total_ms": 2100.0, "downtime_ms": 900.0, "downtimes": {"controller": 900.0}, "verified": True}
    told = outcome_of(STACK_MOVE, {**step, "undo_until": 0.0, "gates": encode((gate,))})
    assert told.gates == (gate,)
    row = VmMove(told.vm, told.domain, told.source, told.destination, "done", told)
    report.done(Done("r", (row,), single=True), "table")
    assert "gates met: http:8080 after 0.4 s" in capsys.readouterr().out


def test_only_what_is_not_there_is_carried_and_foretold() -> None:
    there = replace(FREE, images=tuple(replace(each, present=True) for each in FREE.images))
    assert STACK.bytes - judge(STACK_MOVE, there, None).bytes == 2 * MIB
    off = judge(replace(STACK_MOVE, up=0), FREE, None)
    assert off.downtime == (0.0, 0.0)
    assert judge(STACK_MOVE, replace(FREE, link_rate=0.0), None).seconds == 0.0


def test_gates_that_are_met_are_asked_there() -> None:
    closed = GateAhead(Gate(GateKind.TCP, {"port": 9}), met=False, evidence="refused")
    found = judge(STACK_MOVE, FREE, None, (STACK_GATE, closed), "")
    assert found.move.gates == (STACK_GATE.gate,)
    assert [each.code for each in found.findings] == ["NF-MIG-351", "NF-MIG-350"]
    assert codes(FREE) == []
    assert [each.code for each in judge(STACK_MOVE, FREE, None, (), "never").findings] == ["NF-MIG-352"]


class Said:
    """A host that answers a script by its first word that is known."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.host = Host("kvm3", "kvm3")
        self.answers = answers

    @property
    def session(self) -> Any:
        return self

    async def run(self, command: Command, **_more: Any) -> Completed:
        text = " ".join(command.argv)
        found = next((answer for word, answer in self.answers.items() if word in text), "")
        return Completed(command.argv, 0, found.encode(), b"")


async def test_what_the_hosts_say_is_read_and_what_is_strange_left_out() -> None:
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": [{"HostPort": ""}], "9/tcp": None}
    mounts = [{"Type": "bind", "Source": "/srv/d"}, {"Type": "bind", "Source": f"{STACK_MOVE.root}/conf"}]
    mounts.append({"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data"})
    document = json.dumps({"ports": ports, "mounts": mounts})
    here = f"size 8192\nsize 7000\ncontainer {document}\ncontainer [not json\nimage 42 localhost/httpd:1\nimage 1 x\n"
    there = "image x\nport 22/tcp\nport 8080/tcp\nroom 1000 /var/lib\n"
    ends = Said({"HostConfig.PortBindings": here}), Said({"df -PB1": there})
    seen = await look_there(cast(Any, ends[0]), cast(Any, ends[1]), STACK_MOVE)
    assert seen.sizes == {"": 8192, "devlab-edge_data": 7000}
    assert [(each.name, each.size, each.present) for each in seen.images] == [
        ("localhost/httpd:1", 42, False),
        ("x", 1, True),
    ]
    assert (seen.ports, seen.taken, seen.bound) == (("8080/tcp",), ("8080/tcp",), ("/srv/d",))
    assert seen.room == {"/var/lib": 1000}


UP = "running|Up 3 minutes\nrunning|Up 3 minutes (healthy)\n"
HALF = "running|Up 3 minutes\nexited|Exited (1)\n"
WEAK = "running|Up 3 minutes (unhealthy)\nrunning|Up 3 minutes\n"
MANIFEST = "job u stack.devlab-edge\nbeside - /var/lib/novafleet/stacks/devlab-edge\n"


def shows(states: str = "", bundle: bool = True, manifest: str = "") -> Any:
    return Said({"{{.State}}": states, "[ ! -e": "there\n" if bundle else "", "/manifest": manifest})


@pytest.mark.parametrize(
    ("phase", "here", "there", "action"),
    [
        (Phase.PREPARING, shows(UP), shows("", False), Action.ROLL_BACK),
        (Phase.COPYING, shows(UP), shows("", True, MANIFEST), Action.ROLL_BACK),
        (Phase.COPYING, shows(HALF), shows("", True, MANIFEST), Action.ROLL_BACK),
        (Phase.COPYING, shows(""), shows("", True, MANIFEST), Action.ROLL_BACK),
        (Phase.SWITCHING, shows(""), shows("", True, MANIFEST), Action.START_DESTINATION),
        (Phase.SWITCHING, shows(""), shows(HALF, True, MANIFEST), Action.START_DESTINATION),
        (Phase.SWITCHING, shows(""), shows(WEAK, True, MANIFEST), Action.START_DESTINATION),
        (Phase.SWITCHING, shows(""), shows(UP, True, MANIFEST), Action.COMMIT),
        (Phase.SWITCHED, shows(""), shows(UP, True, MANIFEST), Action.COMMIT),
        (Phase.SWITCHED, shows("", False), shows(UP, True), Action.COMMIT),
        (Phase.SWITCHED, shows(""), shows(HALF, True, MANIFEST), Action.START_DESTINATION),
        (Phase.SWITCHED, shows(UP), shows("", True, MANIFEST), Action.ASK),
        (Phase.SWITCHING, shows(UP), shows(UP, True, MANIFEST), Action.ALARM),
        (Phase.SWITCHING, None, shows(UP, True, MANIFEST), Action.WAIT),
        (Phase.COPYING, shows(UP), None, Action.WAIT),
    ],
)
async def test_a_stack_that_was_cut_off_is_decided_by_what_both_show(
    phase: Phase, here: Any, there: Any, action: Action
) -> None:
    facts = await look_stack(StackJob(STACK_MOVE, phase, 1.0), here, there)
    assert decide_recovery(facts).action is action, facts


@pytest.mark.parametrize(("phase", "action"), [(Phase.COPYING, Action.ROLL_BACK), (Phase.SWITCHED, Action.COMMIT)])
async def test_one_that_was_down_is_never_started(phase: Phase, action: Action) -> None:
    job = StackJob(replace(STACK_MOVE, up=0), phase, 1.0)
    facts = await look_stack(job, shows(""), shows("", True, MANIFEST))
    assert decide_recovery(facts).action is action
    assert not facts.running


async def test_its_destination_remembers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, bytes] = {}

    class Host3(Said):
        async def run(self, command: Command, *, stdin: bytes = b"", **more: Any) -> Completed:
            if stdin:
                written[command.argv[-2]] = stdin
            return await super().run(command, **more)

    monkeypatch.setattr(stackjob, "FOLDER", str(tmp_path))
    job = StackJob(STACK_MOVE, Phase.COPYING, 5.0)
    await keep_stack(cast(Any, Host3({})), job)
    [(path, text)] = written.items()
    assert path == f"{tmp_path}/5f0c92aa/stack.json"
    others = json.dumps(encode(replace(job, move=replace(STACK_MOVE, destination="kvm1"))))
    said = f'{text.decode()}\n{{not json\n{others}\n{{"move": 5}}'
    assert await kept_stacks(cast(Any, Said({str(tmp_path): said}))) == (job,)
    assert decode(StackJob, encode(job)) == job


@pytest.mark.parametrize(
    "pattern",
    ["devlab/edge", "devlab/stack.edge", "devlab-edge", "kvm2/devlab-edge", "kvm3/stack.devlab-edge", "*edge"],
)
def test_a_stack_is_meant_by_any_of_its_names(pattern: str) -> None:
    assert meant(STACK_MOVE, (pattern,))
    assert not meant(STACK_MOVE, ("devlab-db", "kvm1/devlab-edge", "other/edge"))


def test_what_is_seen_of_a_stack_is_told_as_of_a_vm() -> None:
    facts = Facts(Phase.COPYING, Mode.WARM, True, Seen(state="running", reason="2 of 2 containers up"), Seen())
    assert decide_recovery(facts).rule == "runs-here"
