"""Hosts and their guests as placement sees them: asked now, or as remembered."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from novafleet.app.maintenance import CLOSED, folder, known_closed
from novafleet.app.wiring import Places, World
from novafleet.errors import NovaFleetError
from novafleet.execute.gather import collect
from novafleet.model.encode import decode, encode
from novafleet.model.facts import HostFacts
from novafleet.model.fleet import Host
from novafleet.observe.facts import host_facts
from novafleet.observe.registry import collectors
from novafleet.placement.picture import Picture, picture, usage_of
from novafleet.placement.problem import Guest
from novafleet.playbook.moves import policies_of
from novafleet.store import pictures
from novafleet.store.pictures import Sample
from novafleet.transport.fanout import fan_out

log = logging.getLogger(__name__)

COLLECTORS = ("system", "storage", "containers", "usage", "pressure", "libvirt")
FORKS = 100


@dataclass(frozen=True, slots=True)
class FleetView:
    """Pictures by host; ``unseen`` why others could not be asked; ``taken_at`` the time of the oldest picture;
    ``facts`` of hosts that were asked now."""

    pictures: Mapping[str, Picture]
    unseen: Mapping[str, NovaFleetError]
    facts: Mapping[str, HostFacts] = field(default_factory=dict)

    @property
    def guests(self) -> tuple[Guest, ...]:
        """All guests, host by host."""
        return tuple(guest for each in self.pictures.values() for guest in each.guests)

    @property
    def taken_at(self) -> float:
        """When the oldest of them was seen; 0 for none."""
        return min((each.site.taken_at for each in self.pictures.values()), default=0.0)


async def see(world: World, hosts: Sequence[Host], window: float = 0.0) -> FleetView:
    """Ask hosts, one command each, and remember. Load is the mean of what was seen in the last ``window`` seconds."""
    asked = collectors(COLLECTORS)
    unseen: dict[str, NovaFleetError] = {}
    told: dict[str, HostFacts] = {}

    async def one(host: Host) -> Picture | None:
        try:
            documents = await collect(world.sessions, host, asked)
            told[host.name] = facts = host_facts(host.name, world.clock.now(), documents)
        except NovaFleetError as error:
            unseen[host.name] = error.at(host.name)
            return None
        usage = usage_of(documents["usage"], documents["pressure"])
        closed = CLOSED if "maintenance" in facts.values else ""
        return picture(facts, usage, zone=zone_of(host), closed=closed)

    seen = await fan_out(hosts, one, forks=FORKS)
    found = {each.site.name: _kept(world.places, each, window) for each in seen if each is not None}
    return FleetView(found, unseen, told)


def zone_of(host: Host) -> str:
    """What it fails together with, by the label its policies name."""
    policies = policies_of(host)
    return host.labels.get(policies.failure_domain if policies else "rack", "")


def _kept(places: Places, seen: Picture, window: float) -> Picture:
    cpu = {guest.domain: guest.cpu for guest in seen.guests}
    pressure = {guest.domain: guest.pressure for guest in seen.guests}
    sample = Sample(seen.site.taken_at, cpu, pressure)
    try:
        samples = pictures.remember(folder(places), seen.site.name, encode(seen), sample)
    except OSError as error:
        log.warning("what was seen of %s is not remembered: %s", seen.site.name, error)
        return seen
    return averaged(seen, [each for each in samples if sample.at - window <= each.at <= sample.at])


def averaged(seen: Picture, samples: Sequence[Sample]) -> Picture:
    """The picture with the mean load of these samples; a guest counts in those that know it."""

    def mean(guest: Guest, kind: str) -> float:
        found = [getattr(each, kind)[guest.domain] for each in samples if guest.domain in getattr(each, kind)]
        return round(fmean(found), 6) if found else float(getattr(guest, kind))

    guests = (replace(guest, cpu=mean(guest, "cpu"), pressure=mean(guest, "pressure")) for guest in seen.guests)
    return replace(seen, guests=tuple(guests))


def remembered(places: Places, hosts: Collection[str], window: float = 0.0) -> FleetView:
    """The same without asking anybody, each host as it was when somebody last looked."""
    closed = known_closed(places)
    found = {}
    for name, each in pictures.recall_all(folder(places), hosts).items():
        seen = decode(Picture, each.picture)
        recent = [sample for sample in each.samples if 0 <= seen.site.taken_at - sample.at <= window]
        site = replace(seen.site, closed=seen.site.closed or (CLOSED if name in closed else ""))
        found[name] = averaged(replace(seen, site=site), recent)
    return FleetView(found, {})
