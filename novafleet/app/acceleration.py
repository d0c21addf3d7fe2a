"""KVM is believed only where a probe guest really booted with it, until the host or the probe changes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from novafleet.app.wiring import Places, World
from novafleet.errors import NovaFleetError
from novafleet.execute.gather import collect
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.observe.registry import collectors
from novafleet.store import cache

PROBE = "acceleration"
WORKS = "works"
UNTRIED = "untried"


async def with_acceleration(world: World, facts: FleetFacts) -> FleetFacts:
    """The facts with ``kvm`` filled in. Hosts not asked since their last boot are asked now, all at once."""
    known = cache.read(world.places.acceleration)
    asked = [host for host in facts.hosts.values() if _has_device(host) and not known.get(_boot(host))]
    async with asyncio.TaskGroup() as group:
        tasks = {_boot(host): group.create_task(_ask(world, host.host)) for host in asked}
    verdicts = {**known, **{boot: task.result() for boot, task in tasks.items() if task.result()}}
    if tasks:
        cache.write(world.places.acceleration, verdicts)
    return FleetFacts({name: _judged(host, verdicts) for name, host in facts.hosts.items()})


def _has_device(facts: HostFacts) -> bool:
    return facts.values.get("kvm_device") == "yes"


def _boot(facts: HostFacts) -> str:
    return _key({"machine_id": facts.host, **facts.values})


def _key(system: Mapping[str, Any]) -> str:
    return f"{system.get('machine_id', '')}/{system.get('boot_id', '')}/{_probe()}"


@functools.cache
def _probe() -> str:
    [probe] = collectors((PROBE,))
    return sha256(probe.script.encode()).hexdigest()[:12]


def _judged(facts: HostFacts, verdicts: Mapping[str, str]) -> HostFacts:
    return replace(facts, kvm=_has_device(facts) and verdicts.get(_boot(facts)) == WORKS)


async def _ask(world: World, host: str) -> str:
    try:
        documents = await collect(world.sessions, world.fleet.hosts[host], collectors((PROBE,)))
    except NovaFleetError:
        return ""  # nothing learnt: TCG for now, asked again next time
    return _verdict(documents)


def remember(places: Places, seen: Iterable[Mapping[str, Mapping[str, Any]]]) -> None:
    """Keep what the acceleration collector said just now, by host and boot: ``host doctor`` asks afresh."""
    fresh = {_key(each["system"]): _verdict(each) for each in seen if each["system"].get("machine_id")}
    cache.write(places.acceleration, {**cache.read(places.acceleration), **fresh})


def _verdict(documents: Mapping[str, Mapping[str, Any]]) -> str:
    said = str(documents[PROBE]["kvm"])
    return "" if said == UNTRIED else said
