"""What is remembered of hosts, and load over a window."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from novafleet.app import drain
from novafleet.app.drain import ELSEWHERE, NOT_HOME, Order, _away, _sites, destinations
from novafleet.app.fleetview import FleetView, averaged, remembered
from novafleet.app.maintenance import CLOSED, set_maintenance
from novafleet.app.wiring import Places, SystemClock, World
from novafleet.errors import ConfigError, ExitCode, UnreachableError
from novafleet.model.encode import encode
from novafleet.model.fleet import Fleet, Group, Host
from novafleet.model.run import Record, Run, RunState
from novafleet.placement.picture import Picture
from novafleet.placement.problem import Guest, Site
from novafleet.store import cache, pictures
from novafleet.store.journal import Journal
from novafleet.store.pictures import Sample

VM = Guest("a/vm", "a", "vm", "u1", memory=5, cpu=1.0, pressure=0.1, disks={"default": 7}, networks=("network lan",))
SEEN = Picture(Site("a", 9, 4, 4, {"default": 3}, ("network lan",), taken_at=100.0), (VM,), ("edge",))
PLACES = Places(Path("state"), Path("known_hosts"))


def places(folder: Path) -> Places:
    return Places(folder, folder / "known_hosts")


def test_a_picture_survives_and_belongs_to_its_user(tmp_path: Path) -> None:
    pictures.remember(tmp_path / "pictures", "a", encode(SEEN), Sample(100.0, {"vm": 1.0}, {"vm": 0.1}))
    found = remembered(places(tmp_path), ["a", "b"])
    assert found.pictures == {"a": SEEN}
    assert (found.taken_at, found.guests) == (100.0, (VM,))
    file = tmp_path / "pictures/a.json"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"picture": {}, "samples": [{}]}', '{"picture": {}}'])
def test_a_damaged_file_remembers_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert pictures.recall(tmp_path, "a") is None


def test_old_samples_go(tmp_path: Path) -> None:
    for at in range(pictures.SAMPLES + 5):
        kept = pictures.remember(tmp_path, "a", {}, Sample(float(at)))
    assert (len(kept), kept[0].at, kept[-1].at) == (pictures.SAMPLES, 5.0, pictures.SAMPLES + 4.0)


def test_load_is_the_mean_of_what_is_known_of_a_guest() -> None:
    samples = [
        Sample(1.0, {"vm": 3.0}, {"vm": 0.3}),
        Sample(2.0, {"vm": 1.0}, {"vm": 0.1}),
        Sample(3.0, {"other": 9.0}),
    ]
    [vm] = averaged(SEEN, samples).guests
    assert (vm.cpu, vm.pressure) == (2.0, 0.2)
    assert averaged(SEEN, []) == SEEN


def test_a_host_this_controller_closed_is_closed_in_memory_too(tmp_path: Path) -> None:
    pictures.remember(tmp_path / "pictures", "a", encode(SEEN), Sample(100.0))
    cache.write(tmp_path / "maintenance.json", {"a": "since then"})
    assert remembered(places(tmp_path), ["a"]).pictures["a"].site.closed == CLOSED


@pytest.mark.parametrize("on", [True, False])
async def test_what_is_remembered_of_a_host_heeds_its_maintenance(tmp_path: Path, on: bool) -> None:
    class Session:
        async def run(self, *_: object, **__: object) -> None: ...

    class Sessions:
        async def get(self, _: Host) -> Session:
            return Session()

    before = replace(SEEN, site=replace(SEEN.site, closed="" if on else CLOSED))
    pictures.remember(tmp_path / "pictures", "a", encode(before), Sample(100.0))
    world = cast(World, SimpleNamespace(sessions=Sessions(), places=places(tmp_path), clock=SystemClock()))
    for name in ("a", "never-seen"):
        await set_maintenance(world, Host(name, name), on=on)
    found = remembered(places(tmp_path), ["a", "never-seen"]).pictures
    assert {name: each.site.closed for name, each in found.items()} == {"a": CLOSED if on else ""}


def test_load_seen_before_the_clock_was_set_back_does_not_count(tmp_path: Path) -> None:
    pictures.remember(tmp_path / "pictures", "a", encode(SEEN), Sample(9999.0, {"vm": 9.0}))
    pictures.remember(tmp_path / "pictures", "a", encode(SEEN), Sample(100.0, {"vm": 1.0}))
    [vm] = remembered(places(tmp_path), ["a"], window=900.0).guests
    assert vm.cpu == 1.0


HOSTS = {name: Host(name, name) for name in "abc"}
WORLD = cast(World, SimpleNamespace(fleet=Fleet(HOSTS, {"pair": Group("pair", ("a", "b"))}), places=PLACES))
VIEW = FleetView({name: Picture(Site(name, 9, closed="x" if name == "a" else "")) for name in "abc"}, {})


def test_where_a_drain_may_go() -> None:
    assert destinations(WORLD, "") == ("a", "b", "c")
    assert (destinations(WORLD, "pair"), destinations(WORLD, "c")) == (("a", "b"), ("c",))
    with pytest.raises(ConfigError, match="no host or group 'pear'") as raised:
        destinations(WORLD, "pear")
    assert raised.value.code == "NF-MIG-301"
    closed = {site.name: site.closed for site in _sites(WORLD, Order((), "a", "pair"), VIEW, home=False)}
    assert closed == {"a": "x", "b": "", "c": ELSEWHERE}
    home = {site.name: site.closed for site in _sites(WORLD, Order((), "a"), VIEW, home=True)}
    assert home == {"a": "", "b": NOT_HOME, "c": NOT_HOME}, "undrain has no --to"


async def test_who_is_away_is_who_still_is_where_a_drain_moved_it(tmp_path: Path) -> None:
    def noted(run: str, uuid: str, source: str, destination: str) -> Record:
        move = {"uuid": uuid, "source": source, "destination": destination}
        return Record(run, f"{source}/{uuid}/prepare", 1, "note", 0, 1.0, {"move": move})

    async with Journal(tmp_path / "journal.db") as journal:
        for run_id, host in (("1", "a"), ("2", "b"), ("3", "a")):
            await journal.begin(Run(run_id, "", "host drain", RunState.DONE, 1.0, 2.0, "me", {"host": host}))
        await journal.append(
            [
                noted("1", "u1", "a", "b"),
                noted("1", "u2", "a", "c"),
                noted("1", "u3", "c", "b"),
                noted("2", "u4", "b", "c"),
                noted("3", "u2", "a", "b"),
            ]
        )
        there = {"u1": "b", "u2": "c", "u3": "b", "u4": "c", "u5": "b"}
        guests = tuple(Guest(f"{host}/{uuid}", host, uuid, uuid) for uuid, host in there.items())
        view = FleetView({"x": Picture(Site("x", 0), guests)}, {})
        assert await _away(journal, "a", view) == ("b/u1",), "u2 has moved on since, u3 only made room"
        assert await _away(journal, "c", view) == ()


def seen(monkeypatch: pytest.MonkeyPatch, view: FleetView) -> World:
    """A world whose hosts show this."""

    async def see(*_: object) -> FleetView:
        return view

    monkeypatch.setattr(drain, "see", see)
    return cast(World, SimpleNamespace(fleet=WORLD.fleet, clock=SystemClock()))


async def test_an_undrain_that_was_cut_off_after_its_last_move_can_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = seen(monkeypatch, FleetView({"a": Picture(Site("a", 9))}, {}))
    async with Journal(tmp_path / "journal.db") as journal:
        again = await drain._draft(world, journal, Order((), "a"), home=True, resumed=True)
        assert (again.plan.moves, again.exit_code) == ((), ExitCode.OK)
        with pytest.raises(ConfigError, match="no guest of a is away") as raised:
            await drain._draft(world, journal, Order((), "a"), home=True)
    assert raised.value.code == "NF-MIG-601"
    assert raised.value.hints[0].startswith("novafleet host maintenance off a")


@pytest.mark.parametrize("on", [True, False])
async def test_a_drain_knows_that_its_host_is_in_maintenance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, on: bool
) -> None:
    world = seen(monkeypatch, FleetView({"a": Picture(Site("a", 9, closed=CLOSED if on else ""))}, {}))
    async with Journal(tmp_path / "journal.db") as journal:
        assert (await drain._draft(world, journal, Order((), "a"), home=False)).maintained is on


async def test_nobody_comes_home_to_a_host_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = seen(monkeypatch, FleetView({}, {"a": UnreachableError("a is silent")}))
    async with Journal(tmp_path / "journal.db") as journal:
        with pytest.raises(UnreachableError, match="a is silent"):
            await drain._draft(world, journal, Order((), "a"), home=True)
