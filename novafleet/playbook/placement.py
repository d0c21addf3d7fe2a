"""Which host each VM goes to: deterministic, and never more than the room there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from novafleet.errors import ConfigError, Location
from novafleet.source.scalars import size

ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Seat:
    """A VM that needs a host: ``hosts`` it may go to in inventory order; ``apart`` the VMs it cannot be with."""

    name: str
    base: str
    memory: int
    hosts: tuple[str, ...]
    spread: bool = True
    prefer: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()
    source: Location = Location("")


@dataclass(slots=True)
class Hall:
    """Who sits where so far. ``free``: bytes left on each observed host; empty when nothing was observed. ``closed``:
    hosts that take nobody in."""

    free: dict[str, int]
    chosen: dict[str, str] = field(default_factory=dict)
    bases: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()

    def take(self, name: str, base: str, host: str, memory: int) -> None:
        """Seat one VM; ``memory`` is what it will need beyond what is already used."""
        self.chosen[name] = host
        self.bases[host, base] = self.bases.get((host, base), 0) + 1
        self.counts[host] = self.counts.get(host, 0) + 1
        if host in self.free:
            self.free[host] -= memory

    def room(self, host: str, memory: int) -> bool:
        """Does it fit?"""
        return host not in self.closed and (not self.free or self.free.get(host, 0) >= memory)

    def company(self, seat: Seat, host: str) -> str:
        """A VM on the host that the seat must not be with; "" when there is none."""
        return next((other for other in sorted(seat.apart) if self.chosen.get(other) == host), "")


def seat_all(seats: Sequence[Seat], hall: Hall) -> tuple[Mapping[str, str], tuple[ConfigError, ...]]:
    """A host for each VM, the largest first, and what could not be seated (NF-ENV-030, NF-ENV-031). Whoever finds no
    host is asked first the next time: others may have taken the only one it can have.

    A VM that might be on a host nobody could observe is given to that host: started elsewhere it might run twice.
    """
    order = sorted(seats, key=lambda each: -each.memory)
    results: list[tuple[Mapping[str, str], tuple[ConfigError, ...]]] = []
    for _ in range(ATTEMPTS):
        tried = deepcopy(hall)
        refused = _seated(order, tried)
        results.append((tried.chosen, tuple(refused.values())))
        if not refused:
            return results[-1]
        order.sort(key=lambda each: each.name not in refused)
    return results[0]


def _seated(order: Sequence[Seat], hall: Hall) -> Mapping[str, ConfigError]:
    """One after the other; why those that found no host were refused, by name."""
    refused: dict[str, ConfigError] = {}
    for seat in order:
        host = _unobserved(seat, hall) or _best(seat, hall)
        if host:
            hall.take(seat.name, seat.base, host, seat.memory)
        else:
            refused[seat.name] = _refusal(seat, hall)
    return refused


def _unobserved(seat: Seat, hall: Hall) -> str:
    return next((host for host in seat.hosts if hall.free and host not in hall.free), "")


def _best(seat: Seat, hall: Hall) -> str:
    fitting = [host for host in seat.hosts if hall.room(host, seat.memory) and not hall.company(seat, host)]
    return min(fitting, key=lambda host: _rank(seat, hall, host), default="")


def _rank(seat: Seat, hall: Hall, host: str) -> tuple[int, int, int, int, int]:
    preference = seat.prefer.index(host) if host in seat.prefer else len(seat.prefer)
    same = hall.bases.get((host, seat.base), 0) if seat.spread else 0
    others = hall.counts.get(host, 0) if seat.spread else 0
    return (same, preference, others, -hall.free.get(host, 0), seat.hosts.index(host))


def _refusal(seat: Seat, hall: Hall) -> ConfigError:
    if not seat.hosts:
        return ConfigError(
            f"no host may take {seat.name}",
            code="NF-ENV-031",
            where=seat.source,
            cause="no host of its group is among the hosts of all its networks",
            hints=("widen place.group, or the networks' hosts",),
        )
    full = any(not hall.room(host, seat.memory) for host in seat.hosts)
    return ConfigError(
        f"no host has room for {seat.name} ({size(seat.memory)})" if full else f"no host may take {seat.name}",
        code="NF-ENV-030" if full else "NF-ENV-031",
        where=seat.source,
        cause="; ".join(_obstacle(seat, hall, host) for host in seat.hosts),
        hints=("give it less memory, or place.group more hosts" if full else "relax anti_affinity, or add hosts",),
    )


def _obstacle(seat: Seat, hall: Hall, host: str) -> str:
    company = hall.company(seat, host)
    if company:
        return f"{host} has {company}, which it must not be with"
    if host in hall.closed:
        return f"{host} is in maintenance"
    free = max(0, hall.free.get(host, 0))
    return f"{host} has {free // 2**20}MiB left, lacks {-(-(seat.memory - free) // 2**20)}MiB"
