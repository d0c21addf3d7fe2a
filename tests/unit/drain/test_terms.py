"""Which policies a guest is moved under: its class, its environment, its host; and which rules they make."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app import convoy
from novafleet.app.convoy import Travel, Wish, allowed, wanted_of
from novafleet.app.terms import Governing, Terms, governing
from novafleet.app.vmselect import Chosen
from novafleet.app.wiring import World
from novafleet.capability.migration.decide import refuse
from novafleet.errors import Location, MigrationError
from novafleet.model.encode import encode
from novafleet.model.facts import Domain
from novafleet.model.fleet import Fleet, Group, Host
from novafleet.model.migration import Dossier, Mode, Move, Wanted
from novafleet.model.migration import Path as MovePath
from novafleet.model.policies import Policies
from novafleet.model.policy import Window
from novafleet.model.request import EnvironmentRequest
from novafleet.model.run import Run, RunState
from novafleet.placement.problem import Apart, Guest, PlannedMove, Rules
from novafleet.store.journal import Journal

FILE = """\
environment: dev
vms:
  web: {count: 2, host: kvm1}
  db: {host: kvm2}
  app: {place: {anti_affinity: [db]}}
policies:
  max_downtime: 300ms
  window: "22:00-05:00"
  classes: {vital: {vms: [db], priority: 10, max_downtime: 100ms, modes: [live]}}
  anti_affinity: [[web]]
  affinity: [[app, web-1]]
"""
HOST = {
    "spare": 1,
    "window": "20:00-06:00",
    "classes": {"bound": {"vms": ["old-*"], "stay": True, "priority": -5}},
    "anti_affinity": [{"vms": ["dns-*"], "across": "domain"}],
}


def world(**variables: Any) -> World:
    """Two hosts, with policies on all or none."""
    where = {f"vars.{name}": (Location("inventory.yml", 3),) for name in variables}
    hosts = {name: Host(name, name, vars=variables, origins=where) for name in ("kvm1", "kvm2")}
    return cast(World, SimpleNamespace(fleet=Fleet(hosts, {"all": Group("all", tuple(hosts))})))


def guest(host: str, domain: str, environment: str = "", vm: str = "", **more: Any) -> Guest:
    return Guest(f"{host}/{domain}", host, domain, environment=environment, vm=vm or domain, **more)


DEV = (
    guest("kvm1", "dev-web-1", "dev", "web-1"),
    guest("kvm1", "dev-web-2", "dev", "web-2"),
    guest("kvm2", "dev-db", "dev", "db", cpu_class="intel"),
    guest("kvm2", "dev-app", "dev", "app", cpu_class="intel"),
)
OLD = (guest("kvm1", "old-1"), guest("kvm1", "dns-1"), guest("kvm2", "dns-2"))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """One that knows the file the environment was brought up from."""
    file = tmp_path / "dev.yml"
    file.write_text(FILE)
    request = encode(EnvironmentRequest(str(file), ("inventory.yml",)))

    async def write() -> None:
        async with Journal(tmp_path / "journal.db") as journal:
            await journal.begin(Run("r1", "dev", "up", RunState.DONE, 1.0, 2.0, "me", request))

    asyncio.run(write())
    return tmp_path / "journal.db"


async def test_an_environments_word_goes_before_the_inventorys_and_both_windows_hold(journal: Path) -> None:
    async with Journal(journal) as opened:
        found = await governing(world(novafleet_policies=HOST), opened, (*DEV, *OLD))
    windows = (Window(1320, 300), Window(1200, 360))
    assert found.terms["kvm2/dev-db"] == Terms(10, 100, ("live",), windows)
    assert found.terms["kvm1/dev-web-1"] == Terms(0, 300, (), windows)
    assert found.terms["kvm1/old-1"] == Terms(-5, 0, (), windows[1:], stay=True)
    assert [found.terms["kvm1/dns-1"].open(minute) for minute in (1199, 1200, 359, 360)] == [False, True, True, False]
    assert (found.rules.spare, found.notes) == (1, ())


async def test_rules_name_the_guests_there_are(journal: Path) -> None:
    async with Journal(journal) as opened:
        found = await governing(world(novafleet_policies=HOST), opened, (*DEV, *OLD))
    assert set(found.rules.apart) == {
        Apart(("kvm2/dev-db", "kvm2/dev-app")),
        Apart(("kvm1/dev-web-1", "kvm1/dev-web-2")),
        Apart(("kvm1/dns-1", "kvm2/dns-2"), zone=True),
    }
    assert found.rules.together == (("kvm1/dev-web-1", "kvm2/dev-app"),)


async def test_only_guests_that_must_stay_alive_are_bound_to_a_kind_of_cpu(journal: Path) -> None:
    async with Journal(journal) as opened:
        found = await governing(world(novafleet_policies=HOST), opened, (*DEV, *OLD))
    problem = found.problem([], (), ())
    assert problem.guests == ()

    def bound(*modes: str) -> Mapping[str, str]:
        return {each: found._ready(one, modes).cpu_class for each, one in (("db", DEV[2]), ("app", DEV[3]))}

    assert bound() == {"db": "intel", "app": ""}
    assert bound("live") == {"db": "intel", "app": "intel"}
    stays = found._ready(OLD[0], ())
    assert (stays.stuck, stays.stuck_code, stays.priority) == ("its policy says that it stays", "NF-PLACE-018", -5)


async def test_an_environment_nobody_here_brought_up_is_said(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as opened:
        found = await governing(world(), opened, DEV)
    assert found.notes == ("environment dev: never brought up from here, so its policies are not known",)
    assert found.terms["kvm2/dev-db"] == Terms()


def test_a_policy_that_leaves_no_mode_is_a_blocker() -> None:
    move = Move("j", "vm", "vm", "u", "", "a", "b", True, (Mode.WARM, Mode.COLD), MovePath.AUTO, "")
    dossier = Dossier(move, (), ())
    assert allowed(dossier, Terms()).move.ladder == (Mode.WARM, Mode.COLD)
    assert allowed(dossier, Terms(modes=("cold", "live"))).move.ladder == (Mode.COLD,)
    barred = allowed(dossier, Terms(modes=("live",)))
    with pytest.raises(MigrationError, match="could go warm, cold, and its policy allows live") as raised:
        refuse(barred)
    assert raised.value.code == "NF-PLACE-014"


def test_modes_are_of_vms_that_run() -> None:
    move = Move("j", "vm", "vm", "u", "", "a", "b", False, (Mode.COLD,), MovePath.AUTO, "")
    assert allowed(Dossier(move, (), ()), Terms(modes=("live",))).move.ladder == (Mode.COLD,)


@pytest.mark.parametrize(("state", "mode"), [("shutoff", Mode.AUTO), ("running", Mode.LIVE)])
async def test_one_that_is_off_is_not_asked_to_go_live(state: str, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mode] = []

    async def dossier_of(
        _world: object, _chosen: object, _to: str, wanted: Wanted, *_: object, **__: object
    ) -> Dossier:
        asked.append(wanted.mode)
        return Dossier(Move("j", "vm", "vm", "u", "", "a", "b", True, (), MovePath.AUTO, ""), (), ())

    monkeypatch.setattr(convoy, "dossier_of", dossier_of)
    chosen = Chosen(Host("a", "a"), Domain("vm", "u", state, "<domain/>"), "vm")
    monkeypatch.setattr(convoy, "seen", lambda *_: chosen)
    hosts = {"a": Policies(), "b": Policies()}
    travel = Travel(
        world(), cast(Journal, None), (), "r1", Governing({"a/vm": Terms()}, hosts, Rules()), Wish(Mode.LIVE)
    )
    await travel.dossier(PlannedMove("a/vm", "a", "b", 1))
    assert asked == [mode]


def test_a_link_shares_its_bandwidth_and_the_callers_word_goes_first() -> None:
    ends = Policies(bandwidth=100, per_link=2), Policies(bandwidth=60, per_link=4)
    assert wanted_of(Wish(), Terms(), ends).bandwidth == 30
    assert wanted_of(Wish(bandwidth=500, per_host=1), Terms(), ends).bandwidth == 500
    assert wanted_of(Wish(), Terms(max_downtime=90), ends).max_downtime == 90
    assert wanted_of(Wish(max_downtime=70, mode=Mode.WARM), Terms(max_downtime=90), ends).max_downtime == 70
    assert wanted_of(Wish(), Terms(), (Policies(), Policies())).max_downtime == 500
