"""Where the VMs of an environment are after migrations: what the domains themselves say (``plan/moving.py``). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from novafleet.model.facts import Domain, FleetFacts
from novafleet.model.migration import Phase
from novafleet.plan import moving, record
from novafleet.plan.moving import Moving

RUNNING = frozenset(("running", "blocked", "idle"))


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """By domain name. ``current``: the host it is on, ``moved`` that of one whose last migration took it there or left
    it there, ``between`` the migration of one that is under way or was cut off."""

    current: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    between: Mapping[str, Moving] = field(default_factory=dict)


def whereabouts(environment: str, facts: FleetFacts) -> Whereabouts:
    """Of one environment's VMs on the hosts that answered; ``current`` is of all domains."""
    current = {domain: host.host for host in facts.hosts.values() for domain in host.domains}
    moved: dict[str, str] = {}
    between: dict[str, Moving] = {}
    for host, domain, found in _noted(environment, facts):
        if found.open:
            between[domain.name] = found
            if domain.state in RUNNING or (host == found.source and domain.name not in moved):
                current[domain.name] = moved[domain.name] = host
        elif host == (found.destination if found.phase is Phase.COMMITTED else found.source):
            current[domain.name] = moved[domain.name] = host
    return Whereabouts(current, moved, between)


def _noted(environment: str, facts: FleetFacts) -> Iterator[tuple[str, Domain, Moving]]:
    """The running copies last, so that they have the last word."""
    every = [(host.host, domain) for host in facts.hosts.values() for domain in host.domains.values()]
    for host, domain in sorted(every, key=lambda pair: pair[1].state in RUNNING):
        ours, found = record.read(domain), moving.read(domain.xml)
        if ours is not None and ours.environment == environment and found is not None:
            yield host, domain, found
