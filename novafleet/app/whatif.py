"""``whatif host-down|drain|add``: what would be, from what was seen last; no host is asked unless told to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from novafleet.app.fleetview import FleetView, remembered, see
from novafleet.app.terms import governing
from novafleet.app.wiring import World, open_journal, open_world
from novafleet.errors import ConfigError
from novafleet.inventory import select
from novafleet.model.fleet import Host
from novafleet.model.policies import Balance
from novafleet.placement import whatif
from novafleet.placement.problem import Problem, Site
from novafleet.placement.rebalance import Aim
from novafleet.placement.whatif import Outlook
from novafleet.playbook.moves import policies_of
from novafleet.source.suggest import did_you_mean

EVENTS = ("host-down", "drain", "add")


@dataclass(frozen=True, slots=True)
class Question:
    """``like``: for ``add``, the host whose size the new one has. ``refresh``: ask the hosts now."""

    inventory: tuple[Path, ...]
    event: str
    host: str
    like: str = ""
    limit: str = ""
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """``taken_at``: when the oldest picture it rests on was taken; ``missing``: hosts nothing is known of. ``seconds``
    since the oldest picture was taken."""

    outlook: Outlook
    taken_at: float
    seconds: float
    hosts: int
    guests: int
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


async def ask(question: Question) -> Answer:
    """Raises ConfigError NF-PLACE-001 when nothing is known of a host it is about (with ``refresh`` why it cannot be
    asked), NF-PLACE-002 for ``add`` without ``like``."""
    async with open_world(question.inventory) as world:
        hosts = select(world.fleet, "all", question.limit)
        names = [host.name for host in hosts]
        view = await _view(world, question, hosts)
        _require(question, view, names)
        async with open_journal(world.places) as journal:
            rules = await governing(world, journal, view.guests)
        sites = [each.site for each in view.pictures.values()]
        outlook = _outlook(question, world, rules.problem(sites, view.guests))
        missing = tuple(name for name in names if name not in view.pictures and name != question.host)
        age = world.clock.now() - view.taken_at
        silent = (f"{host} could not be asked: {error}" for host, error in view.unseen.items())
        notes = (*rules.notes, *silent)
        return Answer(outlook, view.taken_at, round(age, 1), len(sites), len(view.guests), missing, notes)


async def _view(world: World, question: Question, hosts: Sequence[Host]) -> FleetView:
    """With ``refresh`` as hosts are now; those that cannot be asked as they were when somebody last looked."""
    if not question.refresh:
        return remembered(world.places, [host.name for host in hosts])
    view = await see(world, hosts)
    before = remembered(world.places, view.unseen)
    return replace(view, pictures={**view.pictures, **before.pictures})


def _require(question: Question, view: FleetView, known: Collection[str]) -> None:
    about = question.like if question.event == "add" else question.host
    if question.event == "add" and not about and question.host not in view.pictures:
        hints = (f"novafleet whatif add {question.host} --like {next(iter(view.pictures), 'HOST')}",)
        raise ConfigError(f"nobody knows how large {question.host} is", code="NF-PLACE-002", hints=hints)
    if about in view.unseen and about not in view.pictures:
        raise view.unseen[about]
    if about and about not in view.pictures:
        seen = did_you_mean(about, known, "hosts") if about not in known else ()
        hint = f"novafleet whatif {question.event} {question.host} --refresh   # asks the hosts and remembers"
        raise ConfigError(f"nothing is known of {about} yet", code="NF-PLACE-001", where=about, hints=(*seen, hint))


def _outlook(question: Question, world: World, problem: Problem) -> Outlook:
    if question.event == "add":
        site = _new(question, problem)
        there = replace(problem, sites=tuple(each for each in problem.sites if each.name != site.name))
        return whatif.added(_left(there, site.name), site, _aim(world))
    return (whatif.lost if question.event == "host-down" else whatif.drained)(problem, question.host)


def _left(problem: Problem, name: str) -> Problem:
    return replace(problem, guests=tuple(guest for guest in problem.guests if guest.host != name))


def _new(question: Question, problem: Problem) -> Site:
    """The host as it would be, empty: as large as another one, or as it was seen itself."""
    model = next(site for site in problem.sites if site.name == (question.like or question.host))
    guests = [guest for guest in problem.guests if guest.host == model.name]
    pools = {name: size + sum(guest.disks.get(name, 0) for guest in guests) for name, size in model.pools.items()}
    return replace(
        model,
        name=question.host,
        free=model.free + sum(guest.memory for guest in guests),
        free_pinned=model.free_pinned + sum(guest.pinned for guest in guests),
        pools=pools,
        closed="",
    )


def _aim(world: World) -> Aim:
    found = (policies_of(host) for host in world.fleet.hosts.values())
    balance = next((each.balance for each in found if each is not None), Balance())
    return Aim(balance.tolerance, balance.gain, 10_000)
