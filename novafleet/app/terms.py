"""Which policies the guests of a fleet are moved under: the inventory's for hosts, their environments' for VMs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from novafleet.app.lastup import last_up
from novafleet.app.wiring import World
from novafleet.errors import NovaFleetError
from novafleet.model.policies import Policies
from novafleet.model.policy import Window
from novafleet.placement.problem import Apart, Guest, Problem, Rules, Site
from novafleet.playbook import Draft
from novafleet.playbook.moves import class_of, meant, policies_of
from novafleet.store.journal import Journal

STAYS = "NF-PLACE-018"
LIVE = frozenset(("live", "postcopy"))


@dataclass(frozen=True, slots=True)
class Terms:
    """How one guest may be moved: in one of ``modes`` (empty: any), beginning while all ``windows`` are open, standing
    still for at most ``max_downtime`` milliseconds (0: no word of it)."""

    priority: int = 0
    max_downtime: int = 0
    modes: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    stay: bool = False

    def open(self, minute: int) -> bool:
        """May it begin at this minute of the day?"""
        return all(window.holds(minute) for window in self.windows)


@dataclass(frozen=True, slots=True)
class Governing:
    """``terms`` by guest, ``hosts`` by host, the rules of placement, and what could not be read (``notes``)."""

    terms: Mapping[str, Terms]
    hosts: Mapping[str, Policies]
    rules: Rules
    notes: tuple[str, ...] = ()

    def problem(self, sites: Sequence[Site], guests: Sequence[Guest], modes: Sequence[str] = ()) -> Problem:
        """Placement's problem: priorities set, and only guests that must stay alive bound to a kind of CPU. ``modes``
        are what the caller allows (empty: any)."""
        there = {site.name for site in sites}
        ready = tuple(self._ready(guest, modes) for guest in guests if guest.host in there)
        return Problem(tuple(sites), ready, self.rules)

    def _ready(self, guest: Guest, modes: Sequence[str]) -> Guest:
        terms = self.terms[guest.name]
        allowed = set(modes or LIVE | {"other"}) & set(terms.modes or modes or LIVE | {"other"})
        guest = replace(guest, priority=terms.priority, cpu_class=guest.cpu_class if allowed <= LIVE else "")
        if guest.stuck or not terms.stay:
            return guest
        return replace(guest, stuck="its policy says that it stays", stuck_code=STAYS)


@dataclass(slots=True)
class _Found:
    drafts: dict[str, Draft] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


async def governing(world: World, journal: Journal, guests: Sequence[Guest]) -> Governing:
    """Read what applies: ``novafleet_policies`` of the inventory, and ``policies`` and ``place`` of the file each
    environment was last brought up from on this controller. Raises ConfigError for a policy that is wrong."""
    hosts = {name: policies_of(host) or Policies() for name, host in world.fleet.hosts.items()}
    found = _Found()
    for environment in sorted({guest.environment for guest in guests} - {""}):
        await _read(world, journal, environment, found)
    terms = {guest.name: terms_of(guest, hosts[guest.host], found.drafts.get(guest.environment)) for guest in guests}
    apart = (*_apart_by_host(hosts, guests), *_apart_by_environment(found.drafts, guests))
    together = (*_together_by_host(hosts, guests), *_together_by_environment(found.drafts, guests))
    spare = max((each.spare for each in (*hosts.values(), *_policies(found.drafts))), default=0)
    rules = Rules(tuple(dict.fromkeys(apart)), tuple(dict.fromkeys(together)), spare, live=True)
    return Governing(terms, hosts, rules, tuple(found.notes))


async def _read(world: World, journal: Journal, environment: str, found: _Found) -> None:
    try:
        draft = await last_up(world, journal, environment)
    except NovaFleetError as error:
        found.notes.append(f"environment {environment}: its policies cannot be read ({error})")
        return
    if draft is None:
        found.notes.append(f"environment {environment}: never brought up from here, so its policies are not known")
    else:
        found.drafts[environment] = draft


def terms_of(guest: Guest, host: Policies, draft: Draft | None) -> Terms:
    """An environment's word on its VMs goes before the inventory's; windows of both must be open."""
    bases = dict(draft.sheet.bases) if draft is not None else {}
    own = draft.sheet.policies if draft is not None else None
    of_own = class_of(own, guest.vm, bases.get(guest.vm, guest.vm)) if own else None
    of_host = class_of(host, guest.domain, guest.domain)
    layers = [each for each in (of_own, own, of_host, host) if each is not None]
    classes = [each for each in (of_own, of_host) if each is not None]
    return Terms(
        priority=classes[0].priority if classes else 0,
        max_downtime=next((each.max_downtime for each in layers if each.max_downtime), 0),
        modes=next((each.modes for each in layers if each.modes), ()),
        stay=any(each.stay for each in classes),
        windows=tuple(dict.fromkeys(each.window for each in layers if each.window is not None)),
    )


def _policies(drafts: Mapping[str, Draft]) -> Iterable[Policies]:
    return (draft.sheet.policies for draft in drafts.values() if draft.sheet.policies is not None)


def _apart_by_host(hosts: Mapping[str, Policies], guests: Sequence[Guest]) -> Iterator[Apart]:
    for rule in dict.fromkeys(rule for each in hosts.values() for rule in each.anti_affinity):
        members = _domains(rule.vms, [guest for guest in guests if rule in hosts[guest.host].anti_affinity])
        if len(members) > 1:
            yield Apart(members, rule.across == "domain")


def _together_by_host(hosts: Mapping[str, Policies], guests: Sequence[Guest]) -> Iterator[tuple[str, ...]]:
    for names in dict.fromkeys(names for each in hosts.values() for names in each.affinity):
        members = _domains(names, [guest for guest in guests if names in hosts[guest.host].affinity])
        if len(members) > 1:
            yield members


def _domains(patterns: Sequence[str], guests: Sequence[Guest]) -> tuple[str, ...]:
    return tuple(guest.name for guest in guests if meant(patterns, {guest.domain: guest.domain}))


def _apart_by_environment(drafts: Mapping[str, Draft], guests: Sequence[Guest]) -> Iterator[Apart]:
    for environment, draft in drafts.items():
        there = {guest.vm: guest.name for guest in guests if guest.environment == environment}
        pairs = [(pair, False) for pair in draft.apart()]
        own = draft.sheet.policies.anti_affinity if draft.sheet.policies else ()
        groups = [(meant(rule.vms, draft.sheet.bases), rule.across == "domain") for rule in own]
        for names, zone in (*pairs, *groups):
            members = tuple(there[name] for name in names if name in there)
            if len(members) > 1:
                yield Apart(members, zone)


def _together_by_environment(drafts: Mapping[str, Draft], guests: Sequence[Guest]) -> Iterator[tuple[str, ...]]:
    for environment, draft in drafts.items():
        there = {guest.vm: guest.name for guest in guests if guest.environment == environment}
        for names in draft.sheet.policies.affinity if draft.sheet.policies else ():
            members = tuple(there[name] for name in meant(names, draft.sheet.bases) if name in there)
            if len(members) > 1:
                yield members
