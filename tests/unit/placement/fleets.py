"""Fleets made up for the planner's tests and benchmark: deterministic by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from novafleet.placement.problem import Apart, Guest, Problem, Rules, Site

GIB = 2**30


def site(name: str, free: int = 64, **more: object) -> Site:
    """A host with so many GiB left, network ``lan`` and pool ``default``."""
    made = Site(name, free * GIB, cpus=32, pools={"default": 1000 * GIB}, networks=("lan",), cpu_class="x")
    return replace(made, **more)  # type: ignore[arg-type]


def guest(host: str, domain: str, memory: int = 4, **more: object) -> Guest:
    """A running VM of so many GiB with a disk of 10."""
    made = Guest(
        f"{host}/{domain}",
        host,
        domain,
        memory=memory * GIB,
        cpu=0.5,
        disks={"default": 10 * GIB},
        networks=("lan",),
        cpu_class="x",
    )
    return replace(made, **more)  # type: ignore[arg-type]


def fleet(sites: Sequence[Site], guests: Sequence[Guest], **rules: object) -> Problem:
    """A problem with rules by name."""
    return Problem(tuple(sites), tuple(guests), Rules(**rules))  # type: ignore[arg-type]


def simulated(hosts: int, each: int, *, hot: float = 0.1, seed: int = 1) -> Problem:
    """So many hosts of 512 GiB in racks of 20, ``each`` VMs on every one in groups of three kept apart; a share of
    the hosts is ``hot``: their VMs use three times the CPU."""
    chance = random.Random(seed)
    sites, guests = [], []
    networks = tuple(f"net{n}" for n in range(8))
    for h in range(hosts):
        name, busy = f"h{h:04}", 3.0 if chance.random() < hot else 1.0
        here = [_simulated(chance, name, n, busy, networks) for n in range(each)]
        promised = sum(one.memory for one in here)
        free = 512 * GIB - promised
        pools = {"default": 20_000 * GIB - each * 60 * GIB}
        seen = networks if h % 10 else networks[:4]
        sites.append(Site(name, free, 64, 8, pools, seen, "x" if h % 4 else "y", zone=f"rack{h // 20}"))
        guests += here
    apart = [Apart(tuple(one.name for one in guests[n : n + each * 3 : each])) for n in range(0, len(guests), each * 3)]
    return fleet(sites, guests, apart=tuple(apart))


def _simulated(chance: random.Random, host: str, number: int, busy: float, networks: Sequence[str]) -> Guest:
    memory = chance.choice((1, 1, 2, 2, 4, 4, 8))
    return Guest(
        f"{host}/vm{number:03}",
        host,
        f"vm{number:03}",
        memory=memory * GIB,
        vcpus=2,
        pinned=1 if chance.random() < 0.01 else 0,
        cpu=chance.random() * 0.4 * busy,
        pressure=chance.random() * 0.003 * busy,
        disks={"default": chance.randrange(5, 60) * GIB},
        networks=(networks[chance.randrange(4)],),
        cpu_class="",
        priority=chance.choice((0, 0, 0, 10)),
    )
