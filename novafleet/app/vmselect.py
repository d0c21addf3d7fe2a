"""Which VMs a verb means: a domain's name or glob, ``HOST/DOMAIN``, or ``ENV/NAME`` for VMs of environments; and which
container stacks, where a verb is for them too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from novafleet.app.wiring import World
from novafleet.errors import ConfigError, DeadlineError, NovaFleetError
from novafleet.execute.gather import gather
from novafleet.model.address import METADATA_NS
from novafleet.model.facts import Domain, FleetFacts, HostFacts, StackFact
from novafleet.model.fleet import Host
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.plan import record
from novafleet.together import together

GLOB = frozenset("*?[")
PATIENCE = 5.0
"""Seconds for reading the definition of a named domain; as long as collectors/libvirt waits for one."""
NO_STACK = StackFact("", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One domain, running or not. ``vm`` is its name in its environment, or the domain's own; ``environment`` is
    empty for a domain NovaFleet did not make. Identity is host and domain."""

    host: Host
    domain: Domain
    vm: str
    environment: str = ""

    @property
    def label(self) -> str:
        """``HOST/DOMAIN``: leads here and nowhere else."""
        return f"{self.host.name}/{self.domain.name}"

    @property
    def scope(self) -> str:
        """The lease of whoever works on it."""
        return f"vm.{self.domain.name}"


@dataclass(frozen=True, slots=True)
class ChosenStack(Chosen):
    """A container stack NovaFleet brought up. ``vm`` is its address (``stack.edge``), ``domain`` a stand-in called
    ``stack.PROJECT`` whose UUID is the stack's wherever it runs."""

    fact: StackFact = NO_STACK

    @property
    def scope(self) -> str:
        """The lease of whoever works on it."""
        return self.domain.name


@dataclass(frozen=True, slots=True)
class Selection:
    """The VMs meant, and for every host that could not be asked why: VMs on it may be missing."""

    chosen: tuple[Chosen, ...]
    unseen: Mapping[str, NovaFleetError]


async def select(world: World, patterns: Sequence[str], environment: str = "") -> tuple[Chosen, ...]:
    """The VMs meant, by host and domain. Raises ConfigError NF-VM-006 (nothing matches), NF-VM-007 (a plain name
    leads to several domains), or the error of a host that could not be asked."""
    selection = await look(world, patterns, environment)
    for error in selection.unseen.values():
        raise error
    return selection.chosen


async def look(world: World, patterns: Sequence[str], environment: str = "", *, stacks: bool = False) -> Selection:
    """Ask every host that may have one, in one round trip each; of VMs named ``HOST/DOMAIN`` only libvirt, for these.
    No pattern means every VM of the environment. With ``stacks`` its container stacks are among them, each as a domain
    ``stack.PROJECT`` and a VM ``stack.NAME``.

    Raises ConfigError NF-VM-006 and NF-VM-007; a pattern that matches nothing while a host is unseen passes.
    """
    if not patterns and not environment:
        raise ConfigError("name a VM, or an environment with --environment", code="NF-VM-006")
    if not environment and (named := await _named(world, patterns)):
        return Selection(named, {})
    wanted = ("libvirt", "containers") if stacks and _stacks_too(patterns) else ("libvirt",)
    facts = await gather(world.sessions, _asked(world, patterns), collectors(wanted), world.clock)
    unseen = {each.host: error_of(each) for each in facts.hosts.values() if each.error}
    there = [each for each in _candidates(world, facts) if not environment or each.environment == environment]
    if not patterns:
        return Selection(_found(there, f"environment {environment}", there, unseen), unseen)
    found = {each.label: each for pattern in patterns for each in _meant(pattern, there, unseen)}
    return Selection(tuple(found[label] for label in sorted(found)), _relevant(patterns, found.values(), unseen))


async def _named(world: World, patterns: Sequence[str]) -> tuple[Chosen, ...]:
    """The domains, where each pattern is ``HOST/DOMAIN``. Whatever is in the way of that, a look at all there is says
    it better: it does not wait for a QEMU that hangs."""
    hosts = world.fleet.hosts
    places = sorted({(host, name) for host, _, name in (pattern.partition("/") for pattern in patterns)})
    if not all(host in hosts and name and not GLOB & set(name) and name[:6] != "stack." for host, name in places):
        return ()

    async def one(host: Host, name: str) -> Chosen:
        hypervisor = await world.hypervisors.get(host)
        async with asyncio.timeout(PATIENCE):
            return _chosen(host, await hypervisor.domain(name))

    try:
        return await together(*(one(hosts[host], name) for host, name in places))
    except DeadlineError:  # the look would wait for the same libvirtd
        raise
    except (NovaFleetError, TimeoutError):
        return ()


def _stacks_too(patterns: Sequence[str]) -> bool:
    """Can a stack be meant? Asking a container engine takes half a second."""
    return not patterns or any(set(each) & GLOB or each.rpartition("/")[2].startswith("stack.") for each in patterns)


def _asked(world: World, patterns: Sequence[str]) -> Sequence[Host]:
    """Only the named hosts when every pattern names one."""
    hosts = world.fleet.hosts
    named = {host if slash else "" for host, slash, _ in (pattern.partition("/") for pattern in patterns)}
    known = bool(named) and named <= hosts.keys()
    return [hosts[name] for name in sorted(named)] if known else list(hosts.values())


def seen(world: World, facts: Mapping[str, HostFacts], label: str) -> Chosen | None:
    """The VM ``HOST/DOMAIN`` among what hosts told; None where they told of none."""
    host, _, name = label.partition("/")
    domain = facts[host].domains.get(name) if host in facts else None
    return _chosen(world.fleet.hosts[host], domain) if domain is not None else None


def _candidates(world: World, facts: FleetFacts) -> list[Chosen]:
    found = [
        _chosen(world.fleet.hosts[host.host], domain)
        for host in facts.hosts.values()
        for domain in host.domains.values()
    ]
    return [
        *found,
        *(each for host in facts.hosts.values() for each in chosen_stacks(world.fleet.hosts[host.host], host)),
    ]


def chosen_stacks(host: Host, facts: HostFacts) -> Iterator[ChosenStack]:
    """The stacks seen on a host."""
    for fact in facts.stacks.values():
        name = f"stack.{fact.project.removeprefix(f'{fact.environment}-')}"
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{METADATA_NS}/{fact.environment}/{name}")
        state = "running" if any(each.state == "running" for each in fact.containers) else "shutoff"
        yield ChosenStack(host, Domain(f"stack.{fact.project}", str(identity), state, ""), name, fact.environment, fact)


def _chosen(host: Host, domain: Domain) -> Chosen:
    ours = record.read(domain)
    if ours is None:
        return Chosen(host, domain, domain.name)
    return Chosen(host, domain, ours.name or domain.name, ours.environment)


def matches(pattern: str, vm: Chosen) -> bool:
    """Does a pattern mean this VM? ``HOST/DOMAIN`` and ``ENV/NAME`` may have globs in both parts."""
    first, slash, second = pattern.partition("/")
    if not slash:
        return fnmatchcase(vm.domain.name, pattern)
    on_host = fnmatchcase(vm.host.name, first) and fnmatchcase(vm.domain.name, second)
    return on_host or (bool(vm.environment) and fnmatchcase(vm.environment, first) and fnmatchcase(vm.vm, second))


def _meant(pattern: str, there: Sequence[Chosen], unseen: Mapping[str, NovaFleetError]) -> tuple[Chosen, ...]:
    exact = [each for each in there if each.label == pattern]
    found = _found(exact or [each for each in there if matches(pattern, each)], pattern, there, unseen)
    if len(found) > 1 and not GLOB & set(pattern):
        labels = [each.label for each in found]
        raise ConfigError(
            f"{pattern!r} leads to {len(found)} domains",
            code="NF-VM-007",
            cause=", ".join(labels),
            hints=(f"say which: {labels[0]}",),
        )
    return found


def _found(
    found: Sequence[Chosen], pattern: str, there: Sequence[Chosen], unseen: Mapping[str, NovaFleetError]
) -> tuple[Chosen, ...]:
    if found or unseen:
        return tuple(sorted(found, key=lambda each: each.label))
    known = {each.domain.name for each in there} | {each.label for each in there}
    known |= {f"{each.environment}/{each.vm}" for each in there if each.environment}
    near = get_close_matches(pattern, sorted(known), 1)
    hint = f"did you mean {near[0]}?" if near else "novafleet vm ls   # what there is"
    if any(each.environment == pattern for each in there):
        hint = f"{pattern} is an environment; its VMs are '{pattern}/*'"
    raise ConfigError(f"no VM matches {pattern!r}", code="NF-VM-006", hints=(hint,))


def _relevant(
    patterns: Sequence[str], found: Collection[Chosen], unseen: Mapping[str, NovaFleetError]
) -> Mapping[str, NovaFleetError]:
    """Hosts not seen matter unless every pattern is a plain one that was found elsewhere."""
    complete = all(not GLOB & set(pattern) and any(matches(pattern, each) for each in found) for pattern in patterns)
    return {} if complete else unseen
