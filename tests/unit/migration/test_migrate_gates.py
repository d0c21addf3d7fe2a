"""A VM's gates around its migration: which are asked, when, and what comes of one that is not met."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app.context import Reached
from novafleet.app.migrate import Migrations, Request, VmMove
from novafleet.app.migrategates import with_gates
from novafleet.app.migratetrip import NOTE, Trip
from novafleet.app.wiring import Places, SystemClock, World
from novafleet.capability.migration.gates import NEVER, asked, modes_of
from novafleet.capability.migration.survey import Surveys
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.encode import decode, encode
from novafleet.model.environment import Gate, GateKind
from novafleet.model.fleet import Fleet, Group, Host
from novafleet.model.migration import GateAhead, GateSeen, Mode, Move, Wanted
from novafleet.model.request import EnvironmentRequest
from novafleet.model.run import Run, RunState
from novafleet.ports import Json
from novafleet.store.journal import Journal
from tests.fakes.processes import ProcessSession
from tests.unit.migration.dossiers import codes, dossier, observed, xml

EVERY = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM, Mode.COLD)
TCP, SERIAL = Gate(GateKind.TCP, {"port": 22}, timeout=5.0), Gate(GateKind.SERIAL, {"pattern": "login:"})
FILE = """\
environment: lab
vms:
  db:
    host: kvm1
    ready: [{{exec: [test, -e, {here}]}}, {{exec: [test, -e, {here}.not]}}, {{stopped: true}}]
"""


def ahead(gate: Gate, met: bool = True) -> GateAhead:
    return GateAhead(gate, met, "seen", modes_of(gate) if met else ())


def exists(path: Path, **more: Any) -> Gate:
    """Met once there is such a file: a command, run on the host."""
    return Gate(GateKind.EXEC, {"argv": ["test", "-e", str(path)]}, interval=0.05, **more)


@pytest.mark.parametrize("kind", [each for each in GateKind if each not in NEVER])
def test_a_gate_about_the_boot_is_asked_of_a_guest_that_boots(kind: GateKind) -> None:
    of_the_boot = kind in (GateKind.SERIAL, GateKind.CLOUD_INIT)
    assert modes_of(Gate(kind)) == ((Mode.WARM, Mode.COLD) if of_the_boot else EVERY)


def test_what_is_met_here_must_be_met_there_and_the_dossier_says_so() -> None:
    closed = Gate(GateKind.HTTP, {"port": 80})
    seen = observed(gates=(ahead(TCP), ahead(SERIAL), ahead(closed, met=False)), address="10.9.0.10")
    found = dossier(seen)
    assert found.move.gates == (TCP, SERIAL)
    assert "NF-MIG-351" in codes(found, "warning")
    [told] = [each.what for each in found.findings if each.code == "NF-MIG-350"]
    assert "tcp:22, serial:login: must be met on kvm2" in told
    live, cold = asked(found.move, Mode.LIVE), asked(found.move, Mode.COLD)
    assert live.ready == (replace(TCP, address="10.9.0.10"),), "a guest that goes on keeps its address"
    assert cold.ready == (TCP, SERIAL)
    assert (cold.domain, cold.host) == ("lab-db", "kvm2")


def test_with_consent_nothing_is_asked_and_that_is_a_warning() -> None:
    found = dossier(observed(gates=(ahead(TCP),)), consent=frozenset({"gates"}))
    assert found.move.gates == ()
    assert "NF-MIG-350" in codes(found, "warning")


def test_unknown_gates_are_told_of_a_vm_that_runs() -> None:
    assert "NF-MIG-352" in codes(dossier(observed(gates_unknown="never brought up from here")), "note")
    assert "NF-MIG-352" not in codes(dossier(observed(running=False, gates_unknown="never")), "note")


def test_the_move_is_the_same_when_it_comes_back_from_the_journal() -> None:
    move = dossier(observed(gates=(ahead(TCP), ahead(SERIAL)))).move
    back = decode(Move, encode(move))
    assert [gate.label for gate in back.gates] == ["tcp:22", "serial:login:"]
    assert back.gates == move.gates


def world(tmp_path: Path) -> World:
    hosts = {name: Host(name, name) for name in ("kvm1", "kvm2")}
    fleet = Fleet(hosts, {"all": Group("all", tuple(hosts))})
    places = Places(tmp_path, tmp_path / "known_hosts")
    return cast(World, SimpleNamespace(fleet=fleet, places=places, clock=SystemClock()))


def reached(name: str) -> Reached:
    host = Host(name, name)
    return Reached(host, cast(Any, ProcessSession(host)), FakeHypervisor(name))


async def brought_up(tmp_path: Path) -> World:
    """The environment of the VM was, from a file with two gates that can be asked."""
    (tmp_path / "there").touch()
    file = tmp_path / "lab.yml"
    file.write_text(FILE.format(here=tmp_path / "there"))
    made = world(tmp_path)
    async with Journal(made.places.journal) as journal:
        request = encode(EnvironmentRequest(str(file), ()))
        await journal.begin(Run("r0", "lab", "up", RunState.DONE, 1.0, 2.0, "me", request))
    return made


async def test_the_file_the_environment_came_from_says_what_is_asked(tmp_path: Path) -> None:
    made = await brought_up(tmp_path)
    seen = await with_gates(made, observed(), reached("kvm1"))
    assert [(each.met, bool(each.modes)) for each in seen.gates] == [(True, True), (False, False)]
    assert "ended with 1" in seen.gates[1].evidence
    off = await with_gates(made, observed(running=False), reached("kvm1"))
    assert (off.gates, off.gates_unknown) == ((), "")


async def test_without_that_file_nobody_knows_the_gates(tmp_path: Path) -> None:
    seen = await with_gates(world(tmp_path), observed(), reached("kvm1"))
    assert "never brought up from here" in seen.gates_unknown
    made = await brought_up(tmp_path)
    assert "has no web" in (await with_gates(made, observed(vm="web"), reached("kvm1"))).gates_unknown
    (tmp_path / "lab.yml").write_text("environment: [")
    assert "the file of environment lab" in (await with_gates(made, observed(), reached("kvm1"))).gates_unknown


@dataclass(slots=True)
class Half(Trip):
    """A trip whose guest has arrived. What comes before and after is told, not done."""

    told: list[str] = field(default_factory=list)

    async def _commit(self, _ctx: Any, _args: Mapping[str, Json]) -> dict[str, Json]:
        self.told.append("commit")
        return {}

    async def _rollback(self, _ctx: Any, _args: Mapping[str, Json]) -> dict[str, Json]:
        self.told.append("rollback")
        return {}


async def arrived(mode: Mode, journal: Journal, *gates: Gate) -> Half:
    """It runs on kvm2, and kvm1 has it defined and off."""
    ends = reached("kvm1"), reached("kvm2")
    for end in ends:
        await end.hypervisor.define_domain(xml(devices=""))
    await ends[1].hypervisor.start_domain("lab-db")
    move = replace(dossier().move, gates=gates)
    await journal.begin(Run("r1", "lab", "migrate", RunState.RUNNING, 1.0))
    trip = Half(move, *ends, journal, SystemClock(), "r1", 60.0)
    trip.mode = mode
    return trip


async def onward(trip: Half, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VmMove:
    async def closed(*_words: Any) -> None:
        """No route was opened."""

    monkeypatch.setattr("novafleet.app.migrate.close_route", closed)
    request = Request((), ("lab-db",), "kvm2", Wanted())
    runs = Migrations(world(tmp_path), request, cast(Journal, trip.journal), "r1", Surveys())
    row = VmMove("db", "lab-db", "kvm1", "kvm2", "failed")
    return await runs._onward(trip, row, lambda _event: None)


async def phases(journal: Journal) -> list[str]:
    return [str(each.payload["phase"]) for each in await journal.records("r1") if each.kind == NOTE]


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.COLD])
async def test_gates_that_are_met_there_end_the_migration(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late"
    async with Journal(tmp_path / "journal.db") as journal:
        trip = await arrived(mode, journal, exists(late, timeout=30.0), exists(tmp_path))
        asyncio.get_running_loop().call_later(0.3, late.touch)
        row = await onward(trip, tmp_path, monkeypatch)
        assert (row.state, trip.told, await phases(journal)) == ("done", ["commit"], ["verified"])
    assert row.outcome is not None
    assert [type(each) for each in row.outcome.gates] == [GateSeen, GateSeen]
    assert row.outcome.gates[0].seconds >= 0.2
    assert row.outcome.gates[0].gate == "exec"


async def test_a_guest_that_was_booted_there_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        trip = await arrived(Mode.COLD, journal, exists(tmp_path), exists(tmp_path / "never", timeout=0.2))
        row = await onward(trip, tmp_path, monkeypatch)
        assert (row.state, trip.told, await phases(journal)) == ("rolled-back", ["rollback"], ["returning"])
    assert row.error is not None
    assert row.error["code"] == "NF-MIG-511"
    assert "what it wrote on kvm2 since is lost" in row.error["cause"]


async def test_a_guest_that_went_on_there_stays_and_its_source_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        trip = await arrived(Mode.LIVE, journal, exists(tmp_path / "never", timeout=0.2))
        row = await onward(trip, tmp_path, monkeypatch)
        assert (row.state, trip.told, await phases(journal)) == ("unverified", [], [])
        assert (await trip.destination.hypervisor.domain("lab-db")).state == "running"
        assert (await trip.source.hypervisor.domain("lab-db")).state == "shutoff"
    assert row.error is not None
    assert row.error["code"] == "NF-MIG-510"
    assert any("migrate undo lab-db" in hint for hint in row.error["hints"])
