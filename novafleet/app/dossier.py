"""``migrate --plan``: look at a VM and both hosts, and say what its migration would be like. Changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from novafleet.app.context import reach
from novafleet.app.figures import UNMEASURED, Figures, Rates
from novafleet.app.migrategates import with_gates
from novafleet.app.vmselect import Chosen
from novafleet.app.wiring import World
from novafleet.capability.migration.closed import heed
from novafleet.capability.migration.decide import decide
from novafleet.capability.migration.look import OFF, look
from novafleet.capability.migration.observed import Observed
from novafleet.capability.migration.route import choose
from novafleet.capability.migration.survey import Surveys
from novafleet.errors import ConfigError
from novafleet.execute.gather import gather
from novafleet.model.facts import HostFacts
from novafleet.model.fleet import Host
from novafleet.model.migration import Dossier, Path, Wanted
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.source.suggest import did_you_mean
from novafleet.together import together


async def dossier_of(
    world: World,
    chosen: Chosen,
    to: str,
    wanted: Wanted,
    surveys: Surveys,
    *,
    figures: Figures | None = None,
    known: Mapping[str, HostFacts] = MappingProxyType({}),
) -> Dossier:
    """The dossier of one VM's way to host ``to``, with a fresh job name in its ``move``.

    ``surveys`` and ``figures`` are those of this run; without ``figures`` neither link nor dirty rate is measured.
    ``known`` are facts of hosts that were asked a moment ago (collectors ``system`` and ``libvirt``), and are not asked
    again.

    Raises ConfigError NF-MIG-301 (no such host), NF-MIG-302 (it is there already), NF-MIG-102 (the data path asked for
    cannot be used), and the error of a host that cannot be asked; everything else is a finding.
    """
    destination = _destination(world, chosen, to)
    hosts = (chosen.host, world.fleet.hosts[destination])
    reached, failed = await reach(world, {host.name for host in hosts})
    for name, error in failed.items():
        raise error.at(name)
    ends = (reached[chosen.host.name], reached[destination])
    name = chosen.domain.name
    named = {"job": secrets.token_hex(4), "vm": chosen.vm, "environment": chosen.environment}
    running = chosen.domain.state not in OFF

    async def looked() -> tuple[Mapping[str, HostFacts], Observed]:
        facts = await _facts(world, hosts, known)
        return facts, await look(ends, facts, name, wanted, surveys, **named)

    measuring = figures.of(named["job"], ends, name, running=running) if figures else _unmeasured()
    (facts, observed), ground, measured = await together(looked(), surveys.of(*ends), measuring)
    observed = replace(observed, paths=ground.paths, path=_path(ground.paths, wanted))
    observed = await with_gates(world, observed, ends[0])

    def judged(rates: Rates) -> Dossier:
        link, changed = rates
        dossier = decide(replace(observed, link_rate=link, dirty_rate=changed), wanted)
        return heed(dossier, facts[destination].values.get("maintenance"))

    if figures:
        figures.judge(named["job"], judged)
    return judged(measured)


def _destination(world: World, chosen: Chosen, to: str) -> str:
    if to not in world.fleet.hosts:
        hints = did_you_mean(to, world.fleet.hosts, "hosts")
        raise ConfigError(f"there is no host {to!r} in the inventory", code="NF-MIG-301", hints=hints)
    if to == chosen.host.name:
        raise ConfigError(
            f"{chosen.domain.name} is on {to} already",
            code="NF-MIG-302",
            where=chosen.label,
            hints=("novafleet vm ls   # where each VM is", "name another host: --to HOST"),
        )
    return to


async def _facts(world: World, hosts: Sequence[Host], known: Mapping[str, HostFacts]) -> Mapping[str, HostFacts]:
    if all(host.name in known for host in hosts):
        return known
    facts = await gather(world.sessions, hosts, collectors(("system", "libvirt")), world.clock)
    for each in facts.hosts.values():
        if each.error:
            raise error_of(each)
    return facts.hosts


def _path(paths: Mapping[str, str], wanted: Wanted) -> str:
    """The path to take; none where none works: that is a finding, and a cold copy goes without."""
    ways = (Path.DIRECT, Path.TUNNEL, Path.RELAY)
    if wanted.path is Path.AUTO and all(paths.get(each.value, "not looked at") for each in ways):
        return ""
    return choose(paths, wanted.path).value


async def _unmeasured() -> Rates:
    return UNMEASURED
